// Layer normalisation (Ba et al. 2016) with the residual addition that comes before it.
#pragma once

#include "kernels/device.h"

namespace galleon {

// y ← (x − mean) / sqrt(variance + epsilon) · weight + bias by rows, the variance being the mean square of x − mean.
// x, y: tokens×hidden; weight, bias: hidden numbers, contiguous; statistics ← tokens×2, the mean and the inverse root
// of each row. y may be x.
void layer_norm(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon,
                const Tensor& y, const Tensor& statistics);

// x ← x + delta, then as layer_norm. delta: tokens×hidden.
void add_layer_norm(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight, const Tensor& bias,
                    float epsilon, const Tensor& y, const Tensor& statistics);

// Recomputes y from x and the kept statistics, bit for bit what the forward gave.
void layer_norm_recompute(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Tensor& statistics, const Tensor& y);

// dx ← gradient with respect to x (overwritten; may be dy); dweight, dbias ← themselves + the gradients with respect to
// weight and bias, in an order that shapes alone decide; both are left out where they are empty (no rows).
void layer_norm_backward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& statistics,
                         const Tensor& dy, const Tensor& dx, const Tensor& dweight, const Tensor& dbias);

}  // namespace galleon
