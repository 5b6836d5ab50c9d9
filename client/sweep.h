// galleon submit --set and --sweep: one job file as one job or as many, each with values of its own.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/job_file.h"
#include "client/settings.h"
#include "galleon/v1/groups.pb.h"

namespace galleon {

inline constexpr size_t kMostSweepJobs = 256;

// The values of a list: commas within quotes and brackets are theirs.
std::vector<std::string> split_values(absl::string_view text);

// What a member is called: the job's name and what it has otherwise, as far as a name's 48 letters reach.
// "my-text" with optimizer.learning_rate=0.005 is "my-text-learning-rate-0-005".
std::string member_name(const std::string& job, const std::vector<Setting>& settings, size_t number);

// The job of a file with `settings`, without its shape. INVALID_ARGUMENT with the words of the job file's reader.
absl::StatusOr<v1::Job> job_with(const JobText& file, const std::vector<std::string>& settings);
// Gives a job its model's shape.
using FillShape = std::function<absl::StatusOr<v1::Job>(const v1::Job&)>;
// The product of all `sweeps`, the last changing fastest, each with its shape: `fill` is called once for all that must
// have the same. Checkpoints are copied to a folder of the member's name.
absl::StatusOr<v1::CreateGroupRequest> sweep_request(const JobText& file, const std::vector<std::string>& settings,
                                                     const std::vector<std::string>& sweeps, const FillShape& fill);

}  // namespace galleon
