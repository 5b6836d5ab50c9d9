// What training sees, sequence by sequence: the epochs of one store, or of several that are mixed by weight. A source
// of a mixture goes through epochs of its own, so that a small one begins again while a large one goes on.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/data/epoch_order.h"
#include "worker/engine/data/mixture_order.h"
#include "worker/engine/data/sequence_store.h"

namespace galleon {

struct TrainingSource {
  SequenceStore* store = nullptr;  // must outlive what reads it
  EpochOrder order;
  double weight = 1;
};

class TrainingOrder {
 public:
  explicit TrainingOrder(const std::vector<TrainingSource>& sources);
  TrainingOrder(SequenceStore& store, const EpochOrder& order)
      : TrainingOrder(std::vector<TrainingSource>{{&store, order}}) {}

  struct Drawn {
    SequenceStore* store = nullptr;  // null: it has not come yet
    int64_t index = -1;              // in the store
  };
  // The n-th sequence, n counted from 0 without end. An error of its store.
  absl::StatusOr<Drawn> draw(int64_t n, absl::Duration timeout);
  // An epoch has as many sequences as all sources together. Waits until so many have come, there are no more, or the
  // time is over. An error of a store, if there will not be so many.
  absl::StatusOr<StoreProgress> wait_for(int64_t sequences, absl::Duration timeout);

 private:
  struct Source {
    TrainingSource from;
    StoreProgress progress;
    bool failed = false;  // and there will be no more
  };
  StoreProgress known() const;

  std::vector<Source> sources_;
  MixtureOrder mixture_;
};

}  // namespace galleon
