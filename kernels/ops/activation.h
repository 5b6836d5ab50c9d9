// SwiGLU (Shazeer 2020) and elementwise additions.
#pragma once

#include "kernels/device.h"

namespace galleon {

// out ← silu(gate) · up, elementwise; silu(x) = x·sigmoid(x).
void swiglu(Device& device, const Tensor& gate, const Tensor& up, const Tensor& out);
// dgate, dup ← gradients from dout (overwritten); dgate may be gate, dup may be up.
void swiglu_backward(Device& device, const Tensor& gate, const Tensor& up, const Tensor& dout, const Tensor& dgate,
                     const Tensor& dup);

// Tensors are fp32 or bf16, all of one call of the same type; arithmetic is in fp32.

// y ← y + x.
void add(Device& device, const Tensor& x, const Tensor& y);
// x ← value, everywhere.
void fill(Device& device, const Tensor& x, float value);
// y ← x of any type; shapes equal, strides may differ.
void copy(Device& device, const Tensor& x, const Tensor& y);
// y ← x, one of them fp32 and the other bf16 (to the nearest, ties to even), or both of one type.
void convert(Device& device, const Tensor& x, const Tensor& y);
// y ← xᵀ; x m×n, y n×m.
void transpose(Device& device, const Tensor& x, const Tensor& y);

}  // namespace galleon
