// The two ways of attention: on any GPU number by number in fp32, and on tensor cores.
#pragma once

#include "kernels/cuda/kernels/attention_tiles.h"

namespace galleon::cuda {

template <typename T>
void attention_forward_in_fp32(const Execution& on, const AttentionForward<T>& operands);
// row_dots are there already.
template <typename T>
void attention_backward_in_fp32(const Execution& on, const AttentionBackward<T>& operands);

// Whether the tensor cores' kernels take these: heads of 64, 96 or 128 numbers, all rows at multiples of 16 bytes.
bool on_tensor_cores(const AttentionForward<BFloat16>& operands);
bool on_tensor_cores(const AttentionBackward<BFloat16>& operands);
void attention_forward_on_tensor_cores(const Execution& on, const AttentionForward<BFloat16>& operands);
void attention_backward_on_tensor_cores(const Execution& on, const AttentionBackward<BFloat16>& operands);

}  // namespace galleon::cuda
