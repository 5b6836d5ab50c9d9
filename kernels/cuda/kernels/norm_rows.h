// The pass over a row with which every norm's forward begins.
#pragma once

#include "kernels/cuda/kernels/row_teams.h"

namespace galleon::cuda {

// Reads row `a` into `own` and adds row `d` to it, if it is not null: a ← a + d. Calls body(k) for piece k once it is
// as it was stored, zeros beyond the end. All pieces that are kept are read before the first is stored: a store would
// order the loads behind it.
template <int kept, typename T, int pieces, typename Body>
__device__ __forceinline__ void read_residual_row(int64_t n, bool wide, T* a, const T* d,
                                                  Piece<T, Pack<T>::kCount> (&own)[pieces], Body body) {
  constexpr int kCount = Pack<T>::kCount;
  static_assert(pieces == (kept > 0 ? kept : 1));
  Piece<T, kCount> added[pieces];
  const auto load = [&](int k, int64_t column) {
    own[k] = load_within<kCount>(a, column, n, wide);
    if (d != nullptr) added[k] = load_within<kCount>(d, column, n, wide);
  };
  if constexpr (kept > 0) for_row_pieces<kept, kCount>(n, load);
  for_row_pieces<kept, kCount>(n, [&](int k, int64_t column) {
    if constexpr (kept == 0) load(k, column);
    if (d != nullptr) {
      // The sum counts as it is stored, so that the backward recomputes the same output.
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        store_rounded(own[k].value[i], math::load(own[k].value[i]) + math::load(added[k].value[i]));
      store_within(a, column, n, wide, own[k]);
    }
    body(k);
  });
}

}  // namespace galleon::cuda
