// The orthogonal factor of a matrix by products alone: M·(MᵀM)^(−1/2), or near it, by odd polynomials of M. All of it
// but the first and the last product is in the small Gram matrix MᵀM, so that rows may lie anywhere.
#pragma once

#include "absl/types/span.h"
#include "kernels/device.h"
#include "kernels/moment_rules.h"

namespace galleon {

// q ← f(M)'s factor: M·q = p_k(…p_2(p_1(M / s))), p(x) = a·x + b·x·xᵀ·x + c·x·xᵀ·x·xᵀ·x on singular values, s = safety
// · max(‖M‖_F, 1e-7). With x = M·q the Gram matrix of x is q·MᵀM·q, and all of these are polynomials of MᵀM, which
// commute. gram: MᵀM, n×n without gaps, destroyed; q: of its shape. Where M is wide, MMᵀ gives q·M likewise.
void orthogonal_factor(Device& device, absl::Span<const OddPolynomial> polynomials, float safety, const Tensor& gram,
                       const Tensor& q);

// The two steps of it that are no products. gram ← gram / s², factor ← 1 / s (1×1) with s² = safety²·trace.
void normalize_gram(Device& device, float safety, const Tensor& gram, const Tensor& factor);
// to ← factor·(a·I + b·x + c·y); factor: 1×1, or empty for 1; to may be x or y.
void gram_polynomial(Device& device, const OddPolynomial& polynomial, const Tensor& x, const Tensor& y,
                     const Tensor& factor, const Tensor& to);

}  // namespace galleon
