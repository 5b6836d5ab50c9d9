#include "worker/engine/model/recompute_order.h"

#include <algorithm>

#include "common/base/check.h"

namespace galleon {

RecomputeOrder::RecomputeOrder(int64_t blocks, int64_t kept) : first_(blocks) {
  if (blocks == 0) return;
  GALLEON_CHECK(kept >= 1 && kept <= blocks) << kept << " inputs of " << blocks << " blocks";
  for (int64_t run = kept - 1; run >= 0; --run) {
    const int64_t begin = run * blocks / kept;
    const int64_t end = (run + 1) * blocks / kept;
    places_ = std::max(places_, end - begin - 1);
    for (int64_t block = begin; block < end; ++block) first_[block] = begin;
    const bool still_there = end == blocks;
    for (int64_t block = begin; !still_there && block + 1 < end; ++block) visits_.push_back({block, false});
    for (int64_t block = end - 1; block >= begin; --block) visits_.push_back({block, true});
  }
}

}  // namespace galleon
