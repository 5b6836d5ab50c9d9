#include "worker/engine/data/step_feed.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
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

int64_t steps_of_epoch(int64_t sequences, int64_t global_batch, LastBatch last_batch) {
  return last_batch == LastBatch::kShort ? (sequences + global_batch - 1) / global_batch : sequences / global_batch;
}

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

StepFeed::StepFeed(TrainingOrder order, const FeedShape& shape, int64_t first_step, int64_t last_step)
    : order_(std::move(order)), shape_(shape) {
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

absl::Status StepFeed::check_going_on() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stopping_ ? absl::CancelledError("the feed has ended") : absl::OkStatus();
}

absl::StatusOr<TrainingOrder::Drawn> StepFeed::draw(int64_t n) {
  while (true) {
    ASSIGN_OR_RETURN(TrainingOrder::Drawn drawn, order_.draw(n, kLookInterval));
    if (drawn.store != nullptr) return drawn;
    RETURN_IF_ERROR(check_going_on());
  }
}

absl::StatusOr<StepFeed::Rows> StepFeed::rows_of(int64_t step) {
  const int64_t batch = shape_.global_batch;
  if (shape_.last_batch == LastBatch::kWrap) return Rows{(step - 1) * batch, batch};
  while (!progress_.complete && progress_.sequences < step * batch) {
    ASSIGN_OR_RETURN(progress_, order_.wait_for(step * batch, kLookInterval));
    RETURN_IF_ERROR(check_going_on());
  }
  if (progress_.sequences >= step * batch) return Rows{(step - 1) * batch, batch};
  const int64_t steps = steps_of_epoch(progress_.sequences, batch, shape_.last_batch);
  if (steps == 0) {
    return absl::InvalidArgumentError(absl::StrCat("data.last_batch: drop leaves nothing of ", progress_.sequences,
                                                   " sequences, which are fewer than training.global_batch ", batch));
  }
  const int64_t within = (step - 1) % steps * batch;
  return Rows{(step - 1) / steps * progress_.sequences + within, std::min(batch, progress_.sequences - within)};
}

// A pass of this rank. One without rows of its own takes part with a row that does not count.
absl::Status StepFeed::fill_pass(int64_t first, int64_t count, StepData& data) {
  const BatchMaker maker(shape_.sequence_length, shape_.padding);
  Batch& batch = data.passes.emplace_back();
  maker.begin(std::max<int64_t>(count, 1), batch);
  Sequence sequence;
  for (int64_t row = 0; row < batch.sequences; ++row) {
    ASSIGN_OR_RETURN(TrainingOrder::Drawn drawn, draw(first + row));
    RETURN_IF_ERROR(drawn.store->read(drawn.index, sequence));
    if (count == 0 && shape_.regression) {
      return absl::InvalidArgumentError(
          "data.last_batch: short leaves a pass of a regression without a row in the last batch of an epoch; wrap or "
          "drop, or a larger training.micro_batch");
    }
    if (count == 0) sequence.label = -1;
    if (count == 0) std::fill(sequence.targets.begin(), sequence.targets.end(), -1);
    maker.add(sequence, row, batch);
  }
  maker.end(batch);
  return absl::OkStatus();
}

// Passes of the ranks lie one after the other. A short batch has as many, with as many rows as one another, or one
// more.
absl::StatusOr<StepData> StepFeed::make(int64_t step) {
  StepData data;
  ASSIGN_OR_RETURN(Rows rows, rows_of(step));
  for (int64_t row = 0; row < rows.count; ++row) {
    ASSIGN_OR_RETURN(TrainingOrder::Drawn drawn, draw(rows.first + row));
    ASSIGN_OR_RETURN(int64_t targets, drawn.store->targets(drawn.index));
    data.targets += targets;
    ASSIGN_OR_RETURN(int64_t inputs, drawn.store->inputs(drawn.index));
    data.inputs += inputs;
  }
  const int64_t passes = shape_.global_batch / shape_.micro_batch;
  for (int64_t pass = shape_.rank; pass < passes; pass += shape_.ranks) {
    const int64_t begin = pass * rows.count / passes;
    const int64_t end = (pass + 1) * rows.count / passes;
    RETURN_IF_ERROR(fill_pass(rows.first + std::min(begin, rows.count - 1), end - begin, data));
  }
  return data;
}

}  // namespace galleon
