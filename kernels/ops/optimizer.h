// The optimizer's one-pass moment rules over a rank's own rows of a compact matrix: each takes the reduced gradient r
// and leaves the update in its place.
#pragma once

#include <cstdint>

#include "kernels/device.h"
#include "kernels/moment_rules.h"

namespace galleon {

// r ← r·gradient_scale; m ← β₁m + (1−β₁)r; v ← β₂v + (1−β₂)r²; r ← m / (√v + ε), one pass. ε is added to the
// uncorrected √v; the caller puts √(1−β₂ᵗ)/(1−β₁ᵗ) into the step size (GaLore reference, adamw.py). All three: the same
// shape, contiguous.
void adam_update(Device& device, const AdamRule& rule, const Tensor& r, const Tensor& m, const Tensor& v);

// A moment in 8 bits: a code for each number and a scale for each block of consecutive numbers.
struct CodedMoment {
  Tensor codes;   // uint8, of the gradient's shape, contiguous
  Tensor scales;  // ⌈numbers / block⌉ × 1: the largest magnitude of each block; fp32 of dynamic codes
                  // (math/dynamic8.h), uint16 of companded ones (math/companded8.h), whose blocks are groups of 32
};

// adam_update with moments that are decoded before it and coded after it, m signed and v unsigned, in the same pass.
// r: contiguous; its first number begins a block of `block` numbers (at most 4096).
void adam8bit_update(Device& device, const AdamRule& rule, int64_t block, const Tensor& r, const CodedMoment& m,
                     const CodedMoment& v);

// buffer ← momentum·buffer + gradient_scale·r; r ← buffer (torch.optim.SGD without dampening). Contiguous, one shape.
void momentum_update(Device& device, float momentum, float gradient_scale, const Tensor& r, const Tensor& buffer);

// Adafactor (Shazeer & Stern 2018, algorithm 4, with a fixed learning rate) in two passes, because the mean over rows,
// the clip and the column factor need numbers of all rows, on all ranks.
// AdafactorRule holds its factors.

// What own rows contribute: sums over them for each column of r² + ε, for each column of r² / row factor, and the sum
// of the row factors. `sums`: 1 × adafactor_sum_count(columns), added up over ranks by the caller. rows: own rows × 1.
//   rows ← β₂·rows + (1−β₂)·mean over columns of (r² + ε)
int64_t adafactor_sum_count(int64_t columns);
void adafactor_sums(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& rows, const Tensor& sums);

//   columns ← β₂·columns + (1−β₂)·mean over all rows of (r² + ε)
//   u = r / √(rows·columns / mean of all rows), divided by max(1, root mean square of all u / clip), × learning rate
//   m ← β₁m + (1−β₁)u; r ← m, or u without m (empty).
// sums: of all ranks; all_rows: of the whole compact matrix; columns: 1 × columns, the same on all ranks.
void adafactor_update(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& rows,
                      const Tensor& columns, const Tensor& sums, int64_t all_rows, const Tensor& m);

// The same for a vector, whose second moment is not factored: v ← β₂v + (1−β₂)(r² + ε), u = r / √v. sums: 1 × 1, of
// r² / v. `all`: numbers of the whole vector.
void adafactor_vector_sums(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& v,
                           const Tensor& sums);
void adafactor_vector_update(Device& device, const AdafactorRule& rule, const Tensor& r, const Tensor& v,
                             const Tensor& sums, int64_t all, const Tensor& m);

// z ← alpha·x + beta·y, elementwise; contiguous, one shape; z may be x or y.
void combine(Device& device, float alpha, const Tensor& x, float beta, const Tensor& y, const Tensor& z);
// y ← factor·x and y ← x², elementwise; contiguous, one shape; y may be x.
void scale(Device& device, float factor, const Tensor& x, const Tensor& y);
void square(Device& device, const Tensor& x, const Tensor& y);

}  // namespace galleon
