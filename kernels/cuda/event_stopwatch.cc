#include "kernels/cuda/event_stopwatch.h"

#include <utility>
#include <vector>

#include "kernels/cuda/handles.h"
#include "kernels/cuda/status.h"

namespace galleon::cuda {

namespace {

Event timing_event() {
  cudaEvent_t event = nullptr;
  require(cudaEventCreate(&event), "cudaEventCreate");
  return Event(event);
}

class EventStopwatch final : public Stopwatch {
 public:
  explicit EventStopwatch(Context& context) : context_(context) {}

  void start() override {
    if (used_ == intervals_.size()) intervals_.push_back({timing_event(), timing_event()});
    record(intervals_[used_].first);
  }
  void stop() override { record(intervals_[used_++].second); }

  // Everything is on one stream: the last event comes last.
  double take() override {
    const size_t count = std::exchange(used_, 0);
    if (count == 0) return 0;
    require(cudaEventSynchronize(intervals_[count - 1].second.get()), "cudaEventSynchronize");
    double seconds = 0;
    for (size_t i = 0; i < count; ++i) {
      float milliseconds = 0;
      require(cudaEventElapsedTime(&milliseconds, intervals_[i].first.get(), intervals_[i].second.get()),
              "cudaEventElapsedTime");
      seconds += 1e-3 * static_cast<double>(milliseconds);
    }
    return seconds;
  }

 private:
  void record(const Event& event) { require(cudaEventRecord(event.get(), stream_of(context_)), "cudaEventRecord"); }

  Context& context_;
  std::vector<std::pair<Event, Event>> intervals_;  // kept for the next ones
  size_t used_ = 0;
};

}  // namespace

std::unique_ptr<Stopwatch> make_event_stopwatch(Context& context) {
  return std::make_unique<EventStopwatch>(context);
}

}  // namespace galleon::cuda
