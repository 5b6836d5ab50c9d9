// What a trainer tells whoever started it: numbered events, either down a pipe (`galleon train`) or to the daemon's
// socket.
#pragma once

#include <mutex>

#include "galleon/v1/trainer.pb.h"
#include "worker/engine/run/training.h"

namespace galleon {

// Takes events in order; numbers and times are filled in by it.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void send(v1::TrainerEvent event) = 0;
};

// Writes frames to a descriptor; events are dropped once the reader is gone. fd < 0: nobody listens.
class PipeSink final : public EventSink {
 public:
  explicit PipeSink(int fd) : fd_(fd) {}
  void send(v1::TrainerEvent event) override;

 private:
  std::mutex mutex_;
  int fd_;
  uint64_t sequence_ = 0;
};

// Turns what a run tells into events, and into lines of the log.
class EventObserver : public RunObserver {
 public:
  EventObserver(EventSink& sink, int rank, int ranks);
  void stage(const std::string& name, const std::string& detail) override;
  void allocated(const Engine& engine) override;
  void stepped(int64_t step) override;
  void logged(const StepLine& line) override;
  void evaluated(const EvaluationLine& line) override;
  void published(int64_t step, const std::string& folder) override;

 private:
  EventSink& sink_;
  int rank_;
  int ranks_;
  double start_;
  double told_;  // when a step was last told of
};

v1::Evaluation to_message(const EvaluationLine& line);
v1::StepMetrics to_message(const StepLine& line);

}  // namespace galleon
