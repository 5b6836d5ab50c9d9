#include "worker/engine/run/epochs.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/engine/data/step_feed.h"

namespace galleon {

absl::StatusOr<int64_t> steps_of_epochs(const RunOptions& options, int64_t sequences) {
  const int64_t batch = options.global_batch;
  double steps = options.epochs * static_cast<double>(sequences) / static_cast<double>(batch);
  if (options.last_batch != LastBatch::kWrap) {
    const int64_t each = steps_of_epoch(sequences, batch, options.last_batch);
    if (each == 0) {
      return absl::InvalidArgumentError(absl::StrCat("data.last_batch: drop leaves nothing of ", sequences,
                                                     " sequences, which are fewer than training.global_batch ", batch));
    }
    steps = options.epochs * static_cast<double>(each);
  }
  return std::max<int64_t>(1, std::llround(steps));
}

std::string describe_epochs(const RunOptions& options, int64_t steps, int64_t sequences) {
  const int64_t batch = options.global_batch;
  std::string text =
      absl::StrCat("training.epochs ", options.epochs, " of ", sequences, sequences == 1 ? " sequence" : " sequences",
                   " in batches of ", batch, ": ", steps, steps == 1 ? " step" : " steps");
  if (options.last_batch == LastBatch::kWrap) {
    if (!options.data.train_weights.empty()) return absl::StrCat(text, ", drawn by weight (data.last_batch: wrap)");
    const int64_t seen = steps * batch;
    absl::StrAppend(&text, ", in which each is seen ", seen / sequences, " times");
    if (seen % sequences > 0) absl::StrAppend(&text, ", and ", seen % sequences, " of them once more");
    return absl::StrCat(text, " (data.last_batch: wrap)");
  }
  const int64_t rest = sequences % batch;
  if (rest == 0) {
    return absl::StrCat(
        text, options.data.train_weights.empty() ? ", in each epoch every sequence once" : ", drawn by weight");
  }
  if (options.last_batch == LastBatch::kShort)
    return absl::StrCat(text, "; the last of an epoch has ", rest, " (data.last_batch: short)");
  return absl::StrCat(text, "; ", rest, " of an epoch are left out (data.last_batch: drop)");
}

int64_t sequences_of_steps(const RunOptions& options, int64_t steps, int64_t sequences) {
  const int64_t batch = options.global_batch;
  if (options.last_batch == LastBatch::kWrap) return steps * batch;
  const int64_t each = std::max<int64_t>(1, steps_of_epoch(sequences, batch, options.last_batch));
  return steps / each * sequences + std::min(steps % each * batch, sequences);
}

}  // namespace galleon
