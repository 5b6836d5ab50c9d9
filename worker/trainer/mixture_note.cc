#include "worker/trainer/mixture_note.h"

#include <filesystem>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/object_address.h"
#include "worker/engine/data/files.h"
#include "worker/engine/data/input_stream.h"
#include "worker/engine/data/mapped_tokens.h"
#include "worker/engine/data/mixture_order.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/data/training_set.h"
#include "worker/engine/run/epochs.h"

namespace galleon {

namespace {

std::optional<int64_t> sequences_of(const DataOptions& options, const TrainingPart& part, int64_t vocabulary) {
  const absl::StatusOr<std::vector<std::string>> files = expand_globs(part.globs, part.key);
  if (!files.ok()) return std::nullopt;
  for (const std::string& path : *files) {
    const absl::StatusOr<InputFormat> format = recognise(options.format, path);
    if (!format.ok() || *format != InputFormat::kTokens || is_address(path) || is_compressed(path)) return std::nullopt;
  }
  absl::StatusOr<std::unique_ptr<SequenceStore>> store = map_token_files(*files, vocabulary, options.sequence_length);
  if (!store.ok()) return std::nullopt;
  const absl::StatusOr<StoreProgress> all = (*store)->wait_for(0);
  return all.ok() && all->sequences > 0 ? std::optional(all->sequences) : std::nullopt;
}

}  // namespace

std::string mixture_note(const RunOptions& options, int64_t vocabulary) {
  if (options.data.train_weights.empty()) return "";
  std::string note = absl::StrCat("data.train is a mixture: ", mixture_shares(options.data));
  const std::vector<TrainingPart> parts = training_parts(options.data);
  std::vector<std::optional<int64_t>> known;
  int64_t sum = 0;
  bool all_known = true;
  for (const TrainingPart& part : parts) {
    known.push_back(sequences_of(options.data, part, vocabulary));
    sum += known.back().value_or(0);
    all_known = all_known && known.back().has_value();
  }
  RunOptions so_long = options;
  if (options.steps == 0 && all_known) {
    if (const absl::StatusOr<int64_t> steps = steps_of_epochs(options, sum); steps.ok()) so_long.steps = *steps;
  }
  const bool countable = so_long.steps > 0 && (all_known || options.last_batch == LastBatch::kWrap);
  if (!countable) {
    return absl::StrCat(note,
                        "; what is drawn from each, and how often it is passed through, the log tells when the data "
                        "is known");
  }
  const std::vector<int64_t> given =
      MixtureOrder(options.data.train_weights).given(sequences_of_steps(so_long, so_long.steps, sum));
  absl::StrAppend(&note, "; ", so_long.steps, so_long.steps == 1 ? " step draws " : " steps draw ");
  for (size_t i = 0; i < parts.size(); ++i) {
    absl::StrAppend(&note, i == 0 ? "" : ", ", given[i], " sequences from ", parts[i].globs.front());
    if (known[i].has_value()) {
      absl::StrAppend(&note,
                      absl::StrFormat(" (%.3g passes through its %d)",
                                      static_cast<double>(given[i]) / static_cast<double>(*known[i]), *known[i]));
    }
  }
  if (!all_known) absl::StrAppend(&note, "; how often text is passed through the log tells when it is tokenized");
  return note;
}

}  // namespace galleon
