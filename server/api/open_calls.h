// How many calls each caller has open: answers that nobody takes stay in memory until somebody does.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/core/refusal.h"

namespace galleon::server {

class OpenCalls {
 public:
  explicit OpenCalls(int most) : counts_(std::make_shared<Counts>()), most_(most) {}

  // A place, which is free again when what is returned is gone.
  using Place = std::shared_ptr<void>;
  absl::StatusOr<Place> enter(const std::string& caller) {
    const std::lock_guard<std::mutex> lock(counts_->mutex);
    int& open = counts_->of[caller];
    if (open >= most_) {
      return refusal(v1::ErrorInfo::RATE_LIMITED,
                     absl::StrCat(most_, " calls of yours are open already; wait for their answers, and take them"));
    }
    ++open;
    return Place(nullptr, [counts = counts_, caller](void*) { counts->leave(caller); });
  }

 private:
  struct Counts {
    std::mutex mutex;
    std::map<std::string, int> of;
    void leave(const std::string& caller) {
      const std::lock_guard<std::mutex> lock(mutex);
      const auto it = of.find(caller);
      if (--it->second == 0) of.erase(it);
    }
  };
  const std::shared_ptr<Counts> counts_;  // calls may end after this
  const int most_;
};

}  // namespace galleon::server
