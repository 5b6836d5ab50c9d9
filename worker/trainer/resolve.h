// The model's shape: read from the job's folder or preset, put into the Job, compared with what a worker finds.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/job.pb.h"
#include "worker/engine/model/model_config.h"

namespace galleon {

// A YAML job file (by its name), or a binary Job message.
absl::StatusOr<v1::Job> read_job(const std::string& path);

v1::ModelShape shape_message(const ModelConfig& config);
// INVALID_ARGUMENT: the shape holds a config that cannot be read.
absl::StatusOr<ModelConfig> config_from_shape(const v1::ModelShape& shape);

// FAILED_PRECONDITION: the job was submitted with another shape than these files give. A job without a shape fits any.
absl::Status check_shape(const v1::Job& job, const ModelConfig& found);

// The job with its shape; everything about it that can be checked before it runs has been.
absl::StatusOr<v1::Job> resolve(const v1::Job& job);
// The same for a plan, where a preset's tokenizer and data may still be missing: each of `notes` is a sentence about what
// was taken instead.
absl::StatusOr<v1::Job> resolve_for_plan(const v1::Job& job, std::vector<std::string>& notes);

}  // namespace galleon
