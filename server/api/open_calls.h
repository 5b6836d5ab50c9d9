// What each caller has open: answers that nobody takes stay in memory until somebody does, so both their number and
// what they weigh are bounded.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/core/refusal.h"

namespace galleon::server {

class OpenCalls {
 public:
  struct Bounds {
    int calls = 256;
    size_t bytes = 16 << 20;  // of answers as they are sent; as objects they are several times as large
  };

 private:
  struct Open {
    int calls = 0;
    size_t bytes = 0;
  };
  struct Counts {
    std::mutex mutex;
    std::map<std::string, Open> of;
  };

 public:
  explicit OpenCalls(Bounds bounds) : counts_(std::make_shared<Counts>()), bounds_(bounds) {}

  // A call that is open until this is gone.
  class Call {
   public:
    ~Call() {
      const std::lock_guard<std::mutex> lock(counts_->mutex);
      const auto it = counts_->of.find(caller_);
      it->second.bytes -= bytes_;
      if (--it->second.calls == 0) counts_->of.erase(it);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // RESOURCE_EXHAUSTED: the caller's answers weigh enough already.
    absl::Status may_answer() const {
      const std::lock_guard<std::mutex> lock(counts_->mutex);
      if (counts_->of[caller_].bytes < most_bytes_) return absl::OkStatus();
      return refusal(v1::ErrorInfo::RATE_LIMITED,
                     absl::StrCat(most_bytes_ >> 20, " MiB of answers wait for you; take them first"));
    }
    // What its answer weighs.
    void answers(size_t bytes) {
      const std::lock_guard<std::mutex> lock(counts_->mutex);
      bytes_ += bytes;
      counts_->of[caller_].bytes += bytes;
    }

   private:
    friend class OpenCalls;
    Call(std::shared_ptr<Counts> counts, std::string caller, size_t most_bytes)
        : counts_(std::move(counts)), caller_(std::move(caller)), most_bytes_(most_bytes) {}
    const std::shared_ptr<Counts> counts_;  // calls may end after OpenCalls
    const std::string caller_;
    const size_t most_bytes_;
    size_t bytes_ = 0;
  };
  using Place = std::shared_ptr<Call>;

  // RESOURCE_EXHAUSTED: the caller has as many calls open as it may.
  absl::StatusOr<Place> enter(const std::string& caller) {
    const std::lock_guard<std::mutex> lock(counts_->mutex);
    int& open = counts_->of[caller].calls;
    if (open >= bounds_.calls) {
      return refusal(
          v1::ErrorInfo::RATE_LIMITED,
          absl::StrCat(bounds_.calls, " calls of yours are open already; wait for their answers, and take them"));
    }
    ++open;
    return Place(new Call(counts_, caller, bounds_.bytes));
  }

 private:
  const std::shared_ptr<Counts> counts_;
  const Bounds bounds_;
};

}  // namespace galleon::server
