// Matrix products.
#pragma once

#include "kernels/device.h"

namespace galleon {

enum class Transpose { kNo, kYes };

// C ← alpha·op(A)·op(B) + beta·C, accumulated in fp32. op(A) is m×k, op(B) k×n, C m×n; any row strides. A and B are of
// one type, fp32 or bf16; C is of that type or fp32. C must not overlap A or B. With beta 0, C is not read. FLOPs:
// 2·m·n·k.
void matmul(Device& device, const Tensor& a, Transpose transpose_a, const Tensor& b, Transpose transpose_b,
            const Tensor& c, float alpha = 1.0F, float beta = 0.0F);

}  // namespace galleon
