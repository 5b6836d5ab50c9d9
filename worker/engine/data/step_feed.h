// The batches of one rank, step by step, made by a thread of their own a few steps ahead of the engine.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/sequence_store.h"
#include "worker/engine/data/training_order.h"
#include "worker/engine/ground/batch.h"
#include "worker/engine/ground/options.h"

namespace galleon {

struct FeedShape {
  int64_t global_batch = 0;  // sequences of a step, over all ranks
  int64_t micro_batch = 0;   // sequences of a pass
  int64_t sequence_length = 0;
  int rank = 0;
  int ranks = 1;
  int32_t padding = 0;  // the id of a position that holds nothing
  LastBatch last_batch = LastBatch::kWrap;
  bool regression = false;  // labels are numbers, of which none can be said not to count
};

// What one rank reads in one step.
struct StepData {
  std::vector<Batch> passes;
  int64_t targets = 0;  // of the global batch
  int64_t inputs = 0;   // of the global batch, padding not counted
};

// Steps of an epoch of `sequences`, 0 with kDrop where they are fewer than a batch. Not of kWrap, where an epoch may
// end within a step.
int64_t steps_of_epoch(int64_t sequences, int64_t global_batch, LastBatch last_batch);

// Rows of a batch from sequences of at most `length` inputs, all padded to the longest of them.
class BatchMaker {
 public:
  BatchMaker(int64_t length, int32_t padding) : length_(length), padding_(padding) {}
  void begin(int64_t rows, Batch& batch) const;
  void add(const Sequence& sequence, int64_t row, Batch& batch) const;
  // Cuts off columns that hold padding alone, and drops lengths where every row is full.
  void end(Batch& batch) const;

 private:
  int64_t length_;
  int32_t padding_;
};

class StepFeed {
 public:
  // Steps first_step, first_step + 1, …, last_step. The order's stores must outlive the feed.
  StepFeed(TrainingOrder order, const FeedShape& shape, int64_t first_step, int64_t last_step);
  ~StepFeed();
  StepFeed(const StepFeed&) = delete;
  StepFeed& operator=(const StepFeed&) = delete;

  // The next step. Errors are those of the store.
  absl::StatusOr<StepData> next();
  // Seconds that next() has waited since the beginning.
  double wait_seconds() const { return wait_seconds_; }

 private:
  void run(int64_t first_step, int64_t last_step);
  absl::StatusOr<StepData> make(int64_t step);
  // Which of the sequences that training sees, counted without end, a step begins with, and how many it has.
  struct Rows {
    int64_t first = 0;
    int64_t count = 0;
  };
  absl::StatusOr<Rows> rows_of(int64_t step);
  absl::Status check_going_on();
  absl::Status fill_pass(int64_t first, int64_t count, StepData& data);
  absl::StatusOr<TrainingOrder::Drawn> draw(int64_t n);

  TrainingOrder order_;
  FeedShape shape_;
  StoreProgress progress_;
  double wait_seconds_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<absl::StatusOr<StepData>> ready_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace galleon
