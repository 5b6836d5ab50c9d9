#include "server/api/plan_each.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace galleon::server {

namespace {

constexpr size_t kAtOnce = 2;

class Plans : public std::enable_shared_from_this<Plans> {
 public:
  Plans(Planner& planner, std::vector<v1::Job> jobs, std::string caller, PlansDone done)
      : planner_(planner), jobs_(std::move(jobs)), caller_(std::move(caller)), done_(std::move(done)) {
    std::map<std::string, size_t> known;
    for (size_t i = 0; i < jobs_.size(); ++i) {
      const auto [it, added] = known.emplace(Planner::key(jobs_[i]), distinct_.size());
      if (added) distinct_.push_back(i);
      plan_of_.push_back(it->second);
    }
    plans_.resize(distinct_.size());
  }

  void begin() {
    for (size_t i = 0; i < kAtOnce; ++i) next();
  }

 private:
  void next() {
    size_t which = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (failure_.has_value() || begun_ == distinct_.size()) {
        if (running_ > 0 || std::exchange(told_, true)) return;
        which = distinct_.size();
      } else {
        which = begun_++;
        ++running_;
      }
    }
    if (which == distinct_.size()) return tell();
    planner_.plan(jobs_[distinct_[which]], caller_,
                  [self = shared_from_this(), which](absl::StatusOr<v1::MemoryPlan> plan) {
                    {
                      const std::lock_guard<std::mutex> lock(self->mutex_);
                      --self->running_;
                      if (plan.ok()) {
                        self->plans_[which] = *std::move(plan);
                      } else if (!self->failure_.has_value()) {
                        self->failure_ = PlanFailure{self->distinct_[which], plan.status()};
                      }
                    }
                    self->next();
                  });
  }

  void tell() {
    if (failure_.has_value()) return done_({}, &*failure_);
    std::vector<v1::MemoryPlan> plans;
    plans.reserve(jobs_.size());
    for (const size_t plan : plan_of_) plans.push_back(plans_[plan]);
    done_(std::move(plans), nullptr);
  }

  Planner& planner_;
  const std::vector<v1::Job> jobs_;
  const std::string caller_;
  const PlansDone done_;
  std::vector<size_t> distinct_;  // the first job with each key
  std::vector<size_t> plan_of_;   // which of them each job has its plan from
  std::mutex mutex_;
  std::vector<v1::MemoryPlan> plans_;
  size_t begun_ = 0;
  size_t running_ = 0;
  bool told_ = false;
  std::optional<PlanFailure> failure_;
};

}  // namespace

void plan_each(Planner& planner, std::vector<v1::Job> jobs, const std::string& caller, PlansDone done) {
  std::make_shared<Plans>(planner, std::move(jobs), caller, std::move(done))->begin();
}

}  // namespace galleon::server
