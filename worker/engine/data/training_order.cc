#include "worker/engine/data/training_order.h"

#include "common/base/status_macros.h"

namespace galleon {

namespace {

std::vector<double> weights_of(const std::vector<TrainingSource>& sources) {
  std::vector<double> weights;
  for (const TrainingSource& source : sources) weights.push_back(source.weight);
  return weights;
}

}  // namespace

TrainingOrder::TrainingOrder(const std::vector<TrainingSource>& sources) : mixture_(weights_of(sources)) {
  for (const TrainingSource& source : sources) sources_.push_back({source, {}, false});
}

absl::StatusOr<TrainingOrder::Drawn> TrainingOrder::draw(int64_t n, absl::Duration timeout) {
  const MixtureOrder::Place mixed = mixture_.place(n);
  Source& source = sources_[mixed.source];
  EpochOrder::Place place = source.from.order.place(mixed.number, source.progress);
  if (place.index < 0) {
    ASSIGN_OR_RETURN(source.progress, source.from.store->wait_for(place.needed, timeout));
    place = source.from.order.place(mixed.number, source.progress);
  }
  if (place.index < 0) return Drawn{};
  return Drawn{source.from.store, place.index};
}

StoreProgress TrainingOrder::known() const {
  StoreProgress all{0, true, 0};
  for (const Source& source : sources_) {
    all.sequences += source.progress.sequences;
    all.tokens += source.progress.tokens;
    all.complete = all.complete && source.progress.complete;
  }
  return all;
}

absl::StatusOr<StoreProgress> TrainingOrder::wait_for(int64_t sequences, absl::Duration timeout) {
  absl::Status error;
  for (Source& source : sources_) {
    const StoreProgress all = known();
    if (all.complete || all.sequences >= sequences) return all;
    if (source.progress.complete) continue;
    // What is wrong with one source counts when the others cannot give what is asked for, so that it does in the same
    // step on all ranks.
    absl::StatusOr<StoreProgress> progress =
        source.from.store->wait_for(source.progress.sequences + sequences - all.sequences, timeout);
    source.failed = !progress.ok();
    if (source.failed) {
      error = progress.status();
      progress = source.from.store->wait_for(0, absl::ZeroDuration());
    }
    if (!progress.ok()) return progress.status();
    source.progress = *progress;
  }
  const StoreProgress all = known();
  bool ended = !error.ok() && all.sequences < sequences;
  for (const Source& source : sources_) ended = ended && (source.failed || source.progress.complete);
  if (ended) return error;
  return all;
}

}  // namespace galleon
