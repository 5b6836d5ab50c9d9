// Activation functions and elementwise additions.
#pragma once

#include "kernels/device.h"

namespace galleon {

// SwiGLU (Shazeer 2020): out ← silu(gate) · up, elementwise; silu(x) = x·sigmoid(x).
void swiglu(Device& device, const Tensor& gate, const Tensor& up, const Tensor& out);
// dgate, dup ← gradients from dout (overwritten); dgate may be gate, dup may be up.
void swiglu_backward(Device& device, const Tensor& gate, const Tensor& up, const Tensor& dout, const Tensor& dgate,
                     const Tensor& dup);

// GELU (Hendrycks & Gimpel 2016): y ← x·Φ(x) by the error function or, with `tanh_form`, by the approximation that its
// authors give. y may be x.
void gelu(Device& device, const Tensor& x, bool tanh_form, const Tensor& y);
// dx ← gradient with respect to x (overwritten); dx may be x or dy.
void gelu_backward(Device& device, const Tensor& x, bool tanh_form, const Tensor& dy, const Tensor& dx);

// y ← tanh(x); y may be x.
void hyperbolic_tangent(Device& device, const Tensor& x, const Tensor& y);
// dx ← dy·(1 − y²), from the output; dx may be y or dy.
void hyperbolic_tangent_backward(Device& device, const Tensor& y, const Tensor& dy, const Tensor& dx);

// Tensors are fp32 or bf16, all of one call of the same type; arithmetic is in fp32.

// y ← y + x.
void add(Device& device, const Tensor& x, const Tensor& y);
// x ← value, everywhere; of uint16 0 alone.
void fill(Device& device, const Tensor& x, float value);
// y ← x of any type; shapes equal, strides may differ.
void copy(Device& device, const Tensor& x, const Tensor& y);
// y ← x, one of them fp32 and the other bf16 (to the nearest, ties to even), or both of one type.
void convert(Device& device, const Tensor& x, const Tensor& y);
// y ← xᵀ; x m×n, y n×m.
void transpose(Device& device, const Tensor& x, const Tensor& y);

}  // namespace galleon
