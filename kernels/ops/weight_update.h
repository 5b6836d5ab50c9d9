// What an optimizer does to weights once it knows the update: back from the subspace, decay, rounding.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace galleon {

// weight ← (weight − step·update·basisᵀ)·keep in panels of rows: a product into scratch, then one pass. weight:
// rows×columns; update: rows×r; basis: columns×r. keep = 1 − learning rate·decay.
void apply_projected(Device& device, const Tensor& weight, const Tensor& update, const Tensor& basis, float step,
                     float keep);
// weight ← (weight − step·update)·keep; same shapes.
void apply_dense(Device& device, const Tensor& weight, const Tensor& update, float step, float keep);

}  // namespace galleon
