// Bytes of scratch that kernels over tokens take, by shapes alone: for their launchers, and for the planner on machines
// without a GPU. Plain host code.
#pragma once

#include <cstdint>

#include "kernels/math/mix.h"
#include "kernels/math/multiples.h"
#include "kernels/operation_table.h"

namespace galleon::cuda {

inline constexpr int64_t kSumBlock = 16384;  // numbers of a row that one block adds up

inline int64_t sum_blocks(int64_t n) {
  return ceil_div(n, kSumBlock);
}
inline int64_t sum_workspace(int64_t rows, int64_t n) {
  return rows * sum_blocks(n) * static_cast<int64_t>(sizeof(double));
}

inline int64_t hash_bytes_workspace(int64_t bytes) {
  return ceil_div(bytes, math::kHashBlockBytes) * static_cast<int64_t>(sizeof(uint64_t));
}

// Sorting tokens by id: counts of digits for each tile of tokens, and the order before and after a round.
inline constexpr int64_t kTokensOfTile = 1024;
inline constexpr int kDigits = 256;
inline int64_t tiles_of_tokens(int64_t tokens) {
  return ceil_div(tokens, kTokensOfTile);
}
inline int64_t embedding_backward_workspace(int64_t tokens) {
  return (tiles_of_tokens(tokens) * kDigits + 2 * tokens) * static_cast<int64_t>(sizeof(int32_t));
}

// A dot product of dout and out for every row.
inline int64_t attention_backward_workspace(int64_t batch, int64_t sequence, int64_t heads, int64_t, int64_t) {
  return batch * heads * sequence * static_cast<int64_t>(sizeof(float));
}

inline void fill_scratch_sizes(OperationTable& table) {
  table.sum_workspace = sum_workspace;
  table.hash_bytes_workspace = hash_bytes_workspace;
  table.f32.embedding_backward_workspace = embedding_backward_workspace;
  table.bf16.embedding_backward_workspace = embedding_backward_workspace;
  table.f32.attention_backward_workspace = attention_backward_workspace;
  table.bf16.attention_backward_workspace = attention_backward_workspace;
}

}  // namespace galleon::cuda
