// Token embedding.
#pragma once

#include "kernels/device.h"

namespace galleon {

// x[t] ← table[ids[t]]. ids: tokens int32 in [0, vocabulary); table: vocabulary×hidden; x: tokens×hidden.
void embedding(Device& device, const Tensor& ids, const Tensor& table, const Tensor& x);
// dtable[ids[t]] ← dtable[ids[t]] + dx[t], in the order of t for every row, whatever the number of threads.
void embedding_backward(Device& device, const Tensor& ids, const Tensor& dx, const Tensor& dtable);

}  // namespace galleon
