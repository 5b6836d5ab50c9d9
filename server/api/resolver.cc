#include "server/api/resolver.h"

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace galleon::server {

namespace {

constexpr size_t kMostOrders = 128;
constexpr size_t kMostOfCaller = 16;
constexpr size_t kMostAtWorker = 4;  // listed at once; the others follow
constexpr size_t kMostWorkers = 3;   // that are asked for one job
constexpr int64_t kTimeOfWorkerMs = 75'000;
constexpr size_t kLongestReason = 2048;

bool has_labels(const v1::Worker& worker, const v1::Job& job) {
  return std::all_of(job.scheduling().labels().begin(), job.scheduling().labels().end(), [&worker](const auto& wanted) {
    const auto it = worker.labels().find(wanted.first);
    return it != worker.labels().end() && it->second == wanted.second;
  });
}

std::string labels_text(const v1::Job& job) {
  std::map<std::string, std::string> labels(job.scheduling().labels().begin(), job.scheduling().labels().end());
  return labels.empty() ? "" : absl::StrCat(" with labels ", absl::StrJoin(labels, ", ", absl::PairFormatter("=")));
}

}  // namespace

// Daemons keep what they have read until it is not listed any more: another process's numbers must not meet it.
Resolver::Resolver() {
  std::random_device random;
  next_ = (uint64_t{random()} << 31) + random();
}

void Resolver::resolve(const Scheduler& scheduler, Now now, v1::ResolveOrder asked, const std::string& caller,
                       Done done) {
  if (stopping_) return done(absl::UnavailableError("the scheduler shuts down; submit again"));
  const auto of_caller =
      std::count_if(orders_.begin(), orders_.end(), [&](const auto& entry) { return entry.second.caller == caller; });
  if (orders_.size() >= kMostOrders || static_cast<size_t>(of_caller) >= kMostOfCaller) {
    return done(absl::ResourceExhaustedError(
        absl::StrCat(orders_.size() >= kMostOrders ? orders_.size() : static_cast<size_t>(of_caller), " jobs",
                     orders_.size() >= kMostOrders ? "" : " of yours",
                     " wait for a worker to read their models; submit again later")));
  }
  const uint64_t number = ++next_;
  Order& order = orders_[number];
  order.order = std::move(asked);
  order.order.set_number(number);
  order.caller = caller;
  order.done = std::move(done);
  ask_next(scheduler, now, orders_.find(number));
}

std::string Resolver::choose(const Scheduler& scheduler, const Order& order) const {
  std::optional<std::pair<size_t, std::string>> best;  // the one that reads least
  if (order.tried.size() >= kMostWorkers) return "";
  for (const auto& [id, worker] : scheduler.state().workers()) {
    if (std::find(order.tried.begin(), order.tried.end(), id) != order.tried.end()) continue;
    if (scheduler.state_now(worker) != v1::Worker::READY || !has_labels(worker, order.order.job())) continue;
    const std::pair<size_t, std::string> reads = {listed_at(id), id};
    if (!best || reads < *best) best = reads;
  }
  return best ? best->second : "";
}

void Resolver::ask_next(const Scheduler& scheduler, Now now, Orders::iterator it) {
  Order& order = it->second;
  if (const std::string worker = choose(scheduler, order); !worker.empty()) {
    order.worker = worker;
    order.tried.push_back(worker);
    order.told = false;
    order.until_ms = now.mono_ms + kTimeOfWorkerMs;
    changed_.push_back(order.worker);
    return;
  }
  if (!order.reasons.empty()) return finish(it, absl::FailedPreconditionError(absl::StrJoin(order.reasons, "; ")));
  finish(it, absl::FailedPreconditionError(
                 absl::StrCat("no worker", labels_text(order.order.job()),
                              " is ready that could read the job's model and look for its inputs; submit from a "
                              "machine that has them, or when a worker is ready")));
}

size_t Resolver::listed_at(const std::string& worker) const {
  return static_cast<size_t>(
      std::count_if(orders_.begin(), orders_.end(), [&](const auto& entry) { return entry.second.worker == worker; }));
}

void Resolver::finish(Orders::iterator it, const absl::StatusOr<v1::ResolveJobResponse>& answer) {
  const Done done = std::move(it->second.done);
  orders_.erase(it);
  done(answer);
}

void Resolver::take(const Scheduler& scheduler, Now now, const std::string& worker,
                    const v1::SyncWorkerRequest& request) {
  for (const v1::Resolved& resolved : request.resolved()) {
    const auto it = orders_.find(resolved.number());
    if (it == orders_.end() || it->second.worker != worker) continue;
    if (resolved.has_shape()) {
      v1::ResolveJobResponse response;
      *response.mutable_shape() = resolved.shape();
      response.set_worker_id(worker);
      finish(it, response);
      continue;
    }
    const std::string reason =
        absl::StrCat("on worker ", worker, ": ", absl::string_view(resolved.error()).substr(0, kLongestReason));
    if (!resolved.place()) {
      finish(it, absl::InvalidArgumentError(reason));
      continue;
    }
    it->second.reasons.push_back(reason);
    ask_next(scheduler, now, it);
  }
}

void Resolver::list(const std::string& worker, v1::SyncWorkerResponse& response) {
  for (auto& [number, order] : orders_) {
    if (order.worker != worker) continue;
    if (response.resolve_size() == static_cast<int>(kMostAtWorker)) return;
    order.told = true;
    *response.add_resolve() = order.order;
  }
}

bool Resolver::has_news(const std::string& worker) const {
  size_t listed = 0;
  for (const auto& [number, order] : orders_) {
    if (order.worker != worker) continue;
    if (++listed > kMostAtWorker) return false;
    if (!order.told) return true;
  }
  return false;
}

std::vector<std::string> Resolver::take_changed() {
  return std::exchange(changed_, {});
}

void Resolver::look(const Scheduler& scheduler, Now now) {
  std::vector<std::pair<uint64_t, const char*>> lost;
  for (const auto& [number, order] : orders_) {
    const v1::Worker* worker = scheduler.state().worker(order.worker);
    const v1::Worker::State state = worker == nullptr ? v1::Worker::GONE : scheduler.state_now(*worker);
    if (now.mono_ms >= order.until_ms) {
      lost.emplace_back(number, " did not read the job's model in time");
    } else if (state == v1::Worker::UNREACHABLE && choose(scheduler, order).empty()) {
      // It may come back, and there is no other.
    } else if (state != v1::Worker::READY) {
      lost.emplace_back(number, " is not ready any more");
    }
  }
  for (const auto& [number, why] : lost) {
    const auto it = orders_.find(number);
    it->second.reasons.push_back(absl::StrCat("worker ", it->second.worker, why));
    ask_next(scheduler, now, it);
  }
}

void Resolver::shut_down() {
  stopping_ = true;
  while (!orders_.empty()) finish(orders_.begin(), absl::UnavailableError("the scheduler shuts down; submit again"));
}

}  // namespace galleon::server
