// The optimizer's one-pass moment rules, the weight update, and reductions over tensors.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

struct AdamRule {
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-6F;
  float gradient_scale = 1.0F;  // clipping factor on r
};

// r ← r·gradient_scale; m ← β₁m + (1−β₁)r; v ← β₂v + (1−β₂)r²; r ← m / (√v + ε), one pass. ε is added to the
// uncorrected √v; the caller puts √(1−β₂ᵗ)/(1−β₁ᵗ) into the step size (GaLore reference, adamw.py). All three: the same
// shape, contiguous.
void adam_update(Device& device, const AdamRule& rule, const Tensor& r, const Tensor& m, const Tensor& v);

// weight ← (weight − step·update·basisᵀ)·keep in panels of rows: a product into scratch, then one pass. weight:
// rows×columns; update: rows×r; basis: columns×r. keep = 1 − learning rate·decay.
void apply_projected(Device& device, const Tensor& weight, const Tensor& update, const Tensor& basis, float step,
                     float keep);
// weight ← (weight − step·update)·keep; same shapes.
void apply_dense(Device& device, const Tensor& weight, const Tensor& update, float step, float keep);

// Sum of squares, accumulated in double in a fixed order of blocks. 0 on a device that does not execute.
double sum_of_squares(Device& device, const Tensor& x);
// Sum, likewise.
double sum(Device& device, const Tensor& x);
// Whether every number is finite.
bool all_finite(Device& device, const Tensor& x);
// A 64-bit hash of the bytes of a contiguous tensor; equal bytes give equal hashes on every device.
uint64_t hash_bytes(Device& device, const Tensor& x);

// x[i] ← mean + deviation·normal(seed, stream, first + i): counter-based normal numbers (Philox 4×32-10, Box–Muller),
// the same for any number of threads and any cut into pieces.
void fill_normal(Device& device, const Tensor& x, uint64_t seed, uint64_t stream, int64_t first, float mean,
                 float deviation);

}  // namespace galleon
