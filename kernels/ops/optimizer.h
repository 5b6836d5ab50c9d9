// The optimizer's one-pass moment rules.
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

}  // namespace galleon
