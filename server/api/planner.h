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

  // Of jobs with the same key the plan is the same.
  static std::string key(const v1::Job& job);
  // The plan, if it is known already.
  std::optional<v1::MemoryPlan> known(const v1::Job& job);
  // Calls `done` on another thread, or at once when the plan is known. INVALID_ARGUMENT: the planner refused the job,
  // in its own words. FAILED_PRECONDITION: the planner cannot be run. DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED,
  // UNAVAILABLE (shut down).
  // Callers take turns, and one of them alone never has all of the processes: who asks for much waits behind itself.
  using Done = std::function<void(absl::StatusOr<v1::MemoryPlan>)>;
  void plan(const v1::Job& job, const std::string& caller, Done done);

 private:
  struct Request {
    std::string caller;
    std::string key;
    v1::Job job;
    Done done;
  };
  struct Caller {
    std::deque<Request> waiting;
    int running = 0;
  };
  void run();
  // The next request of the caller whose turn it is; nullopt: none that may run. Under the lock.
  std::optional<Request> take();
  void finished(const std::string& caller);
  absl::StatusOr<v1::MemoryPlan> compute(const Request& request);

  const std::string program_;
  const std::string folder_;
  const absl::Duration timeout_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::string, Caller> callers_;
  std::deque<std::string> turns_;  // callers with a request that waits, each once
  size_t waiting_ = 0;
  std::map<std::string, v1::MemoryPlan> known_;
  std::list<std::string> known_order_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace galleon::server
