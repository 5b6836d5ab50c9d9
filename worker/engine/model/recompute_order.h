// Which blocks' inputs outlive the forward, and the order in which a backward then visits the blocks.
#pragma once

#include <cstdint>
#include <vector>

namespace galleon {

// Blocks lie in runs that begin with one whose input is kept. The inputs within a run are recomputed from it, all
// before the backward comes to the run's last block, in places that the runs use one after the other. The last run's
// are still there from the forward.
class RecomputeOrder {
 public:
  struct Visit {
    int64_t block = 0;
    bool backward = true;  // false: the forward of this block, for the input of the next one
  };

  // kept: 1 to `blocks` inputs, in runs as even as can be.
  RecomputeOrder(int64_t blocks, int64_t kept);
  // Places that inputs within a run need.
  int64_t places() const { return places_; }
  // Where a block's input lies: its place within its run, -1 if it is kept.
  int64_t place(int64_t block) const { return block - first_[block] - 1; }
  // Every block backward once, the last one first, with the forwards that this needs.
  const std::vector<Visit>& visits() const { return visits_; }

 private:
  std::vector<int64_t> first_;  // by block, of its run
  int64_t places_ = 0;
  std::vector<Visit> visits_;
};

}  // namespace galleon
