// Attention in double precision, and the shapes of its tests.
#pragma once

#include "kernels/ops/attention.h"
#include "tests/kernels/cases/case.h"

namespace galleon {

// What attention leaves out, for the reference: lengths of sequences, and factors on probabilities by (sequence, head,
// query, key), without gaps.
struct Left {
  std::vector<int32_t> lengths;
  Values factors;
};

// drop(softmax(q·kᵀ/sqrt(D)))·v in double, and the logarithms of the rows' sums.
Values attention_exactly(const AttentionShape& s, const Values& q, const Values& k, const Values& v,
                         Values* logs = nullptr, const Left& left = {});

AttentionShape with_mask(AttentionShape s, bool causal, int64_t window);

// 10000^(−2i/D), as most models have them.
std::vector<double> rotary_frequencies(int64_t dimension);

// Causal shapes that cut blocks of 64 in every way.
inline constexpr AttentionShape kAttentionShapes[] = {
    {1, 1, 1, 1, 2},    {2, 5, 2, 2, 8},    {1, 63, 2, 1, 16},   {1, 64, 1, 1, 32}, {2, 65, 4, 2, 16},
    {1, 129, 2, 1, 64}, {1, 200, 3, 1, 32}, {1, 200, 2, 2, 128}, {3, 7, 6, 3, 4},   {1, 300, 1, 1, 8}};
// Windows within a block, of whole blocks, across them; and no mask.
inline constexpr AttentionShape kMaskedShapes[] = {
    {2, 5, 2, 2, 8, false, 0},     {1, 64, 1, 1, 32, false, 0}, {2, 150, 4, 2, 16, false, 0},
    {1, 129, 3, 3, 5, false, 0},   {1, 9, 2, 1, 8, true, 1},    {2, 70, 2, 1, 16, true, 7},
    {1, 200, 2, 2, 8, true, 64},   {1, 260, 1, 1, 8, true, 65}, {1, 300, 4, 2, 16, true, 128},
    {1, 130, 2, 2, 8, true, 1000},
};

std::unique_ptr<const OperationCase> attention_case(const AttentionShape& shape);
std::unique_ptr<const OperationCase> attention_backward_case(const AttentionShape& shape);

}  // namespace galleon
