// Numbers in blocks of codes: moments between refreshes, and bases.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/ops/optimizer.h"  // CodedMoment

namespace galleon {

// A moment to and from its codes (math/dynamic8.h): signed for first moments, else numbers are 0 or more. x: fp32,
// contiguous; of a tie between two codes either is taken.
void encode_moment(Device& device, bool is_signed, int64_t block, const Tensor& x, const CodedMoment& coded);
void decode_moment(Device& device, bool is_signed, int64_t block, const CodedMoment& coded, const Tensor& x);

// A basis to and from `bits` = 8 or 4 linear bits (math/absmax.h), bit for bit the same on every machine. Blocks of
// basis_block(bits) numbers lie over the whole matrix, row-major. x: fp32, contiguous. codes: uint8, basis_code_bytes ×
// 1, with 4 bits the first of two numbers in the lower half of a byte. scales: fp32, basis_blocks × 1, the largest
// magnitudes.
int64_t basis_block(int bits);  // 256 for 8 bits, 64 for 4
int64_t basis_blocks(int bits, int64_t numbers);
int64_t basis_code_bytes(int bits, int64_t numbers);
void encode_basis(Device& device, int bits, const Tensor& x, const Tensor& codes, const Tensor& scales);
void decode_basis(Device& device, int bits, const Tensor& codes, const Tensor& scales, const Tensor& x);

}  // namespace galleon
