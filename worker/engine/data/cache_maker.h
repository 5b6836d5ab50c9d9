// Makes a token cache that other processes may want too: the one that has the right to make it does, the others read
// what it makes, and one of them goes on where it ended before the cache was whole.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "worker/engine/data/cache_builder.h"
#include "worker/engine/data/shared_caches.h"

namespace galleon {

class CacheMaker {
 public:
  // Returns once the cache has an index that is of a living process, or is whole. `hold`: of a shared cache, or null,
  // for a cache that is this process's alone.
  static absl::StatusOr<std::unique_ptr<CacheMaker>> start(CacheBuild build, std::unique_ptr<CacheHold> hold);
  // Ends the threads where they are.
  ~CacheMaker();
  CacheMaker(const CacheMaker&) = delete;
  CacheMaker& operator=(const CacheMaker&) = delete;

  // Of the builder in this process; null: another process makes the cache, and its index file says how far it is.
  std::shared_ptr<const CacheProgress> progress() const;

 private:
  explicit CacheMaker(std::unique_ptr<CacheHold> hold) : hold_(std::move(hold)) {}
  // Waits until the cache is whole, or takes over.
  void follow(const CacheBuild& build);
  bool stopped_within(absl::Duration time);

  const std::unique_ptr<CacheHold> hold_;
  std::unique_ptr<CacheBuilder> builder_;
  std::shared_ptr<const CacheProgress> progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread follower_;
};

}  // namespace galleon
