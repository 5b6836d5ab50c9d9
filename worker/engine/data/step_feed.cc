#include "worker/engine/data/step_feed.h"

#include <algorithm>
#include <chrono>

#include "common/base/status_macros.h"
#include "kernels/math/multiples.h"

namespace galleon {

namespace {

// Steps that lie ready. One would do if steps took equally long.
constexpr size_t kStepsAhead = 2;
// Batches are as long as their longest row, rounded up to this.
constexpr int64_t kLengthUnit = 8;
constexpr absl::Duration kLookInterval = absl::Milliseconds(200);

}  // namespace

void BatchMaker::begin(int64_t rows, Batch& batch) const {
  batch = Batch{};
  batch.sequences = rows;
  batch.length = length_;
  batch.ids.assign(rows * length_, padding_);
  batch.lengths.assign(rows, 0);
}

void BatchMaker::add(const Sequence& sequence, int64_t row, Batch& batch) const {
  const auto inputs = static_cast<int64_t>(sequence.ids.size());
  std::copy(sequence.ids.begin(), sequence.ids.end(), batch.ids.begin() + row * length_);
  batch.lengths[row] = static_cast<int32_t>(inputs);
  if (sequence.targets.empty()) {
    batch.labels.resize(batch.sequences);
    batch.labels[row] = sequence.label;
  } else {
    if (batch.targets.empty()) batch.targets.assign(batch.sequences * length_, -1);
    std::copy(sequence.targets.begin(), sequence.targets.end(), batch.targets.begin() + row * length_);
  }
  if (sequence.second < inputs) {
    if (batch.token_types.empty()) batch.token_types.assign(batch.sequences * length_, 0);
    std::fill(batch.token_types.begin() + row * length_ + sequence.second,
              batch.token_types.begin() + row * length_ + inputs, 1);
  }
}

void BatchMaker::end(Batch& batch) const {
  const int64_t longest = *std::max_element(batch.lengths.begin(), batch.lengths.end());
  const int64_t length = std::min(length_, round_up(longest, kLengthUnit));
  if (length < length_) {
    batch.length = length;
    for (std::vector<int32_t>* values : {&batch.ids, &batch.token_types, &batch.targets}) {
      if (values->empty()) continue;
      for (int64_t row = 1; row < batch.sequences; ++row)
        std::copy_n(values->begin() + row * length_, length, values->begin() + row * length);
      values->resize(batch.sequences * length);
    }
  }
  if (std::all_of(batch.lengths.begin(), batch.lengths.end(), [&](int32_t l) { return l == batch.length; }))
    batch.lengths.clear();
}

StepFeed::StepFeed(SequenceStore& store, const EpochOrder& order, const FeedShape& shape, int64_t first_step,
                   int64_t last_step)
    : store_(store), order_(order), shape_(shape) {
  thread_ = std::thread([this, first_step, last_step] { run(first_step, last_step); });
}

StepFeed::~StepFeed() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StepFeed::run(int64_t first_step, int64_t last_step) {
  for (int64_t step = first_step; step <= last_step; ++step) {
    absl::StatusOr<StepData> data = make(step);
    const bool good = data.ok();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || ready_.size() < kStepsAhead; });
    if (stopping_) return;
    ready_.push_back(std::move(data));
    changed_.notify_all();
    if (!good) return;
  }
}

absl::StatusOr<StepData> StepFeed::next() {
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty(); });
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!ready_.front().ok()) return ready_.front().status();
  absl::StatusOr<StepData> data = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return data;
}

absl::StatusOr<int64_t> StepFeed::index_of(int64_t n) {
  EpochOrder::Place place = order_.place(n, progress_);
  while (place.index < 0) {
    ASSIGN_OR_RETURN(progress_, store_.wait_for(place.needed, kLookInterval));
    place = order_.place(n, progress_);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return absl::CancelledError("the feed has ended");
  }
  return place.index;
}

absl::StatusOr<StepData> StepFeed::make(int64_t step) {
  StepData data;
  const BatchMaker maker(shape_.sequence_length, shape_.padding);
  const int64_t first = (step - 1) * shape_.global_batch;
  Sequence sequence;
  for (int64_t row = 0; row < shape_.global_batch; ++row) {
    ASSIGN_OR_RETURN(int64_t index, index_of(first + row));
    ASSIGN_OR_RETURN(int64_t targets, store_.targets(index));
    data.targets += targets;
    ASSIGN_OR_RETURN(int64_t inputs, store_.inputs(index));
    data.inputs += inputs;
    // Passes of the ranks lie one after the other.
    const int64_t pass = row / shape_.micro_batch;
    if (pass % shape_.ranks != shape_.rank) continue;
    const int64_t place = row % shape_.micro_batch;
    if (place == 0) {
      data.passes.emplace_back();
      maker.begin(shape_.micro_batch, data.passes.back());
    }
    RETURN_IF_ERROR(store_.read(index, sequence));
    maker.add(sequence, place, data.passes.back());
    if (place + 1 == shape_.micro_batch) maker.end(data.passes.back());
  }
  return data;
}

}  // namespace galleon
