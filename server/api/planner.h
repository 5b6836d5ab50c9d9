// Memory plans by `galleon-trainer --plan` in a bounded subprocess. The trainer that plans is the trainer that runs, so
// the figure is the one that the run really uses.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "galleon/v1/job.pb.h"
#include "galleon/v1/plan.pb.h"

namespace galleon::server {

class Planner {
 public:
  // `program`: galleon-trainer. `folder`: for short-lived files; made if missing.
  Planner(std::string program, std::string folder, absl::Duration timeout = absl::Seconds(60));
  ~Planner();
  // Kills what still runs and refuses the rest.
  void shut_down();

  // The plan, if it is known already.
  std::optional<v1::MemoryPlan> known(const v1::Job& job);
  // Calls `done` on another thread, or at once when the plan is known. INVALID_ARGUMENT: the planner refused the job,
  // in its own words. FAILED_PRECONDITION: the planner cannot be run. DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED,
  // UNAVAILABLE (shut down).
  using Done = std::function<void(absl::StatusOr<v1::MemoryPlan>)>;
  void plan(const v1::Job& job, Done done);

 private:
  struct Request {
    std::string key;
    v1::Job job;
    Done done;
  };
  void run();
  absl::StatusOr<v1::MemoryPlan> compute(const Request& request);

  const std::string program_;
  const std::string folder_;
  const absl::Duration timeout_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Request> queue_;
  std::map<std::string, v1::MemoryPlan> known_;
  std::list<std::string> known_order_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace galleon::server
