// What an optimizer does to weights once it knows the update: back from the subspace, decay, one rounding.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

struct WeightUpdate {
  float step = 0;         // learning rate with bias correction and scale
  float keep = 1;         // 1 − learning rate·decay
  uint64_t noise = 0;     // seed of stochastic rounding, for a bf16 weight without a master
  int64_t first_row = 0;  // of the matrix that these rows belong to: noise depends on an element's place in it
};

// A bf16 weight is rounded once: stochastically, or to the nearest of its master, which is what is updated then.
// `master`: of the weight's shape, an fp32 copy or the uint8 remainders of weights of 24 bits (math/split_weight.h); or
// empty (data null).

// weight ← (weight − step·update·basisᵀ)·keep. weight: rows×columns; update: rows×r; basis: columns×r, of the update's
// type.
void apply_projected(Device& device, const Tensor& weight, const Tensor& master, const Tensor& update,
                     const Tensor& basis, const WeightUpdate& how);
// weight ← (weight − step·update)·keep; same shapes, update fp32 or bf16.
void apply_dense(Device& device, const Tensor& weight, const Tensor& master, const Tensor& update,
                 const WeightUpdate& how);

// weight ← the nearest to x, which is fp32, and its master ← x, or the nearest to it. Same shapes, with gaps or
// without.
void set_with_master(Device& device, const Tensor& weight, const Tensor& master, const Tensor& x);

}  // namespace galleon
