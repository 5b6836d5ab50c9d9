// The job file: strict YAML read into galleon::v1::Job with defaults filled in, and the checks that any job must pass.
// Keys, types, defaults and help come from the descriptors of job.proto, so that a new field needs no change here.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

// Reads a job file, resolves its relative paths against its folder, fills in defaults and what follows from other keys,
// and validates it. INVALID_ARGUMENT with one line for each error: `job.yaml:12: optimizer.rule: "adamm" is not
// accepted; …`.
absl::StatusOr<v1::Job> load_job_file(const std::string& path);

// The same on text. `file_name` names the text in errors; relative paths are resolved against `folder` (empty: left as
// they are).
absl::StatusOr<v1::Job> parse_job(absl::string_view yaml, absl::string_view file_name, absl::string_view folder);

// Checks of meaning on a whole job: ranges, contradictions, and values that this version does not know.
// INVALID_ARGUMENT with one line for each error, `key: sentence`.
absl::Status validate_job(const v1::Job& job);

// A job file that reads back as the same job (the resolved shape excepted).
std::string job_to_yaml(const v1::Job& job);

// All keys with type, default and meaning, as a Markdown table.
std::string job_reference_markdown();

}  // namespace galleon
