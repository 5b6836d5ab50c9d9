// Biases of linear layers.
#pragma once

#include "kernels/device.h"

namespace galleon {

// y ← y + bias in every row. y: rows×n; bias: n numbers of y's type, contiguous.
void add_bias(Device& device, const Tensor& bias, const Tensor& y);

// dbias ← dbias + the sum of dy's rows, in an order that shapes alone decide. dy: rows×n, fp32 or bf16; dbias: n
// numbers, fp32.
void bias_backward(Device& device, const Tensor& dy, const Tensor& dbias);

}  // namespace galleon
