// Of the calls about groups: what may be submitted together.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/groups.pb.h"
#include "server/api/services.h"
#include "server/core/scheduler.h"

namespace galleon::server {

inline constexpr int kMostMembers = 256;

// INVALID_ARGUMENT: something of it is not whole, members would write to one folder, or could not be compared where
// the worse half of them is to end.
absl::Status check_group_request(const v1::CreateGroupRequest& request, const ServiceContext& context);
// Its jobs as they will be made, in order; numbers and plans are still to be given.
Scheduler::GroupSubmission group_submission(const v1::CreateGroupRequest& request, const std::string& owner,
                                            const std::string& jobs_folder);

}  // namespace galleon::server
