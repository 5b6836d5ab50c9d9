// The memory plans of several jobs, each different one once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/api/planner.h"

namespace galleon::server {

// Which job could not be planned, and why.
struct PlanFailure {
  size_t index = 0;
  absl::Status status;
};

// Calls `done` once, on any thread, with the plans in the order of the jobs, or with the first failure that came. A few
// are asked for at a time, so that a group of many leaves the others their turns.
using PlansDone = std::function<void(std::vector<v1::MemoryPlan>, const PlanFailure* failure)>;
void plan_each(Planner& planner, std::vector<v1::Job> jobs, const std::string& caller, PlansDone done);

}  // namespace galleon::server
