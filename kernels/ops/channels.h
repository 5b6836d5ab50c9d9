// Norms of the rows and columns of a matrix, and what scales them: for rules that give each channel of a gradient a
// size of its own. All numbers are fp32, all tensors without gaps.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

// to (rows×1, 1×columns) ← the sum of squares of each row, of each column.
void row_squares(Device& device, const Tensor& x, const Tensor& to);
void column_squares(Device& device, const Tensor& x, const Tensor& to);
// to ← factor·√a / (√b + floor), number by number; without a (empty) factor / (√b + floor). One size; to may be a or b.
void root_ratios(Device& device, float factor, const Tensor& a, const Tensor& b, float floor, const Tensor& to);
// x_ij ← factor·common·rows_i·columns_j·x_ij; common 1×1, rows rows×1, columns 1×columns, each may be empty for 1.
void scale_channels(Device& device, float factor, const Tensor& common, const Tensor& rows, const Tensor& columns,
                    const Tensor& x);
// How much of a step of norm factor·own·√squares is taken, so that it is at most `limit` times the one before, whose
// norm `before` holds; of the first one (0) all. to ← own·that part, before ← factor·to·√squares. All 1×1; own may be
// empty.
void growth_limit(Device& device, float factor, const Tensor& own, const Tensor& squares, float limit,
                  const Tensor& before, const Tensor& to);

}  // namespace galleon
