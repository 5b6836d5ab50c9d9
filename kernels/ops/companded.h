// Moments in groups of 32 companded codes (math/companded8.h). Groups lie over all numbers, row by row.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/ops/optimizer.h"  // CodedMoment

namespace galleon {

// adam_update with moments that are decoded before it and coded after it, in the same pass. r: contiguous; its first
// number begins a group.
void companded_adam_update(Device& device, const AdamRule& rule, const Tensor& r, const CodedMoment& m,
                           const CodedMoment& v);

// A moment to and from its codes: a first one, or a second one, whose numbers are 0 or more. x: fp32, contiguous. With
// s the group's scale, a first moment x comes back to within s·(1 + |x|/s)²/508, and a bit more in the second order;
// the root of a second one to within s/510, or s/255 where it is smaller than that. Bit for bit the same on every
// machine.
void encode_companded(Device& device, bool is_first, const Tensor& x, const CodedMoment& coded);
void decode_companded(Device& device, bool is_first, const CodedMoment& coded, const Tensor& x);

}  // namespace galleon
