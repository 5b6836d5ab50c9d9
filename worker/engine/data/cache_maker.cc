#include "worker/engine/data/cache_maker.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::Duration kFollowInterval = absl::Milliseconds(500);
constexpr absl::Duration kGlance = absl::Milliseconds(20);
// An index comes at once after the right to make the cache was taken.
constexpr absl::Duration kMostPatience = absl::Seconds(60);

}  // namespace

absl::StatusOr<std::unique_ptr<CacheMaker>> CacheMaker::start(CacheBuild build, std::unique_ptr<CacheHold> hold) {
  std::unique_ptr<CacheMaker> maker(new CacheMaker(std::move(hold)));
  const absl::Time deadline = absl::Now() + kMostPatience;
  while (maker->hold_ != nullptr && !maker->hold_->make()) {
    // What another process leaves of an earlier failure is not this one's.
    const absl::StatusOr<CacheIndex> index = CacheIndex::read(build.base);
    if (index.ok() && index->shape == build.shape && index->error.empty()) {
      if (!index->complete) {
        log_info(build.key, ": another job makes the same tokens; they are shared");
        CacheMaker* self = maker.get();
        maker->follower_ = std::thread([self, build = std::move(build)] { self->follow(build); });
      }
      return maker;
    }
    if (absl::Now() > deadline) return absl::AbortedError(absl::StrCat(build.base, " is not made by who holds it"));
    absl::SleepFor(kGlance);
  }
  ASSIGN_OR_RETURN(maker->builder_, CacheBuilder::start(std::move(build)));
  maker->progress_ = maker->builder_->progress();
  return maker;
}

CacheMaker::~CacheMaker() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (follower_.joinable()) follower_.join();
}

std::shared_ptr<const CacheProgress> CacheMaker::progress() const {
  return progress_;
}

bool CacheMaker::stopped_within(absl::Duration time) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return stopping_; });
}

void CacheMaker::follow(const CacheBuild& build) {
  while (!stopped_within(kFollowInterval)) {
    if (!hold_->make()) continue;
    const absl::StatusOr<CacheIndex> index = CacheIndex::read(build.base);
    if (index.ok() && index->complete) return;
    absl::StatusOr<std::unique_ptr<CacheBuilder>> builder = CacheBuilder::start(build);
    if (builder.ok()) {
      log_info(build.key, ": who made the tokens has ended; this job goes on with them");
      builder_ = *std::move(builder);
      return;
    }
    log_warning(build.key, ": who made the tokens has ended, and this job cannot go on with them: ",
                std::string(builder.status().message()));
  }
}

}  // namespace galleon
