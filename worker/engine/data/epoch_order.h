// Which sequence training sees when. An epoch is a permutation of all sequences; from the second epoch on of all of
// them at once, in the first one block by block, because they may still be on their way: the first block holds
// `first_block` sequences, each further one twice as many as the one before. A corpus of one block is permuted as a
// whole in every epoch.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/engine/data/sequence_store.h"

namespace galleon {

// A pseudo-random permutation of [0, n) without a table.
int64_t permuted(int64_t i, int64_t n, uint64_t key);

class EpochOrder {
 public:
  EpochOrder(bool shuffle, uint64_t seed, int64_t first_block)
      : shuffle_(shuffle), seed_(seed), first_block_(first_block) {}

  struct Place {
    // Sequences that must be there before it can be told (or all of them); then `index` is the sequence.
    int64_t needed = 0;
    int64_t index = -1;
  };
  // The n-th sequence that training sees, n counted from 0 without end.
  Place place(int64_t n, const StoreProgress& progress) const;

 private:
  bool shuffle_;
  uint64_t seed_;
  int64_t first_block_;
};

}  // namespace galleon
