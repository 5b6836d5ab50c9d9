// Jobs whose model and inputs a worker reads before they are submitted, for callers who cannot see them. What is asked
// lives in memory alone: after a restart the caller asks again. For the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "galleon/v1/jobs.pb.h"
#include "galleon/v1/workers.pb.h"
#include "server/core/scheduler.h"

namespace galleon::server {

class Resolver {
 public:
  Resolver();

  // As documented in jobs.proto. `asked`: all of the order but its number. `done` is called on the loop's thread, at
  // once or later, and exactly once.
  using Done = std::function<void(const absl::StatusOr<v1::ResolveJobResponse>&)>;
  void resolve(const Scheduler& scheduler, Now now, v1::ResolveOrder asked, const std::string& caller, Done done);

  // What a worker says, and all that it should read.
  void take(const Scheduler& scheduler, Now now, const std::string& worker, const v1::SyncWorkerRequest& request);
  void list(const std::string& worker, v1::SyncWorkerResponse& response);
  // There is an order that it was not told yet.
  bool has_news(const std::string& worker) const;
  // Workers to which that has become true since this was asked last.
  std::vector<std::string> take_changed();

  // After each round: asks other workers where one has gone or takes too long.
  void look(const Scheduler& scheduler, Now now);
  // Refuses all that wait, and whatever comes.
  void shut_down();

 private:
  struct Order {
    v1::ResolveOrder order;
    std::string caller;
    Done done;
    std::string worker;
    bool told = false;
    int64_t until_ms = 0;  // monotonic: then another worker is asked
    std::vector<std::string> tried;
    std::vector<std::string> reasons;  // of those, each with its worker
  };
  using Orders = std::map<uint64_t, Order>;

  // The ready worker that reads least and was not tried; empty: there is none, or enough were tried.
  std::string choose(const Scheduler& scheduler, const Order& order) const;
  // Another worker for the order, or its end.
  void ask_next(const Scheduler& scheduler, Now now, Orders::iterator it);
  void finish(Orders::iterator it, const absl::StatusOr<v1::ResolveJobResponse>& answer);
  size_t listed_at(const std::string& worker) const;

  uint64_t next_ = 0;
  Orders orders_;
  std::vector<std::string> changed_;
  bool stopping_ = false;
};

}  // namespace galleon::server
