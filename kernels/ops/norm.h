// RMS normalisation (Zhang & Sennrich 2019, eq. 4) with the residual addition that comes before it.
#pragma once

#include "kernels/device.h"

namespace galleon {

// y ← x / rms(x) · weight by rows, rms(x) = sqrt(mean(x²) + epsilon); inverse_rms ← 1 / rms(x).
// x, y: tokens×hidden; weight: hidden numbers, contiguous; inverse_rms: tokens numbers. y may be x.
void rms_norm(Device& device, const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
              const Tensor& inverse_rms);

// x ← x + delta, then as rms_norm. delta: tokens×hidden.
void add_rms_norm(Device& device, const Tensor& x, const Tensor& delta, const Tensor& weight, float epsilon,
                  const Tensor& y, const Tensor& inverse_rms);

// Recomputes y from x and the kept inverse_rms, bit for bit what the forward gave.
void rms_norm_recompute(Device& device, const Tensor& x, const Tensor& weight, const Tensor& inverse_rms,
                        const Tensor& y);

// dx ← dx + gradient with respect to x; dweight ← dweight + gradient with respect to weight; an empty
// dweight (no rows) is left out. The result does not depend on the number of threads' timing (partial sums in a fixed
// order).
void rms_norm_backward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& inverse_rms,
                       const Tensor& dy, const Tensor& dx, const Tensor& dweight);

}  // namespace galleon
