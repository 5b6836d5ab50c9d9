// Operations at the shapes of real models, on a device beside another way to the same result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops/attention.h"

namespace galleon::gpu {

struct Comparison {
  std::string name;
  double bound = 0;
  double worst = 0;         // the largest difference, of the largest expected number; infinite for what is not finite
  std::string first_wrong;  // "[3, 17] is 0.5 and not 0.25": the first element beyond the bound; empty: there is none
};

// Of a rows×columns result, row by row.
Comparison compare(const std::string& name, const std::vector<float>& actual, const std::vector<float>& expected,
                   int64_t columns, double bound);

// out, dq, dk and dv of attention in bf16, which takes tensor cores where heads fit them, against attention in fp32 on
// the same numbers, which does not.
std::vector<Comparison> compare_attention(Device& device, const AttentionShape& shape);

// Losses and gradient of the cross-entropy of rows×vocabulary logits, against those of `reference`.
std::vector<Comparison> compare_loss(Device& device, Device& reference, int64_t rows, int64_t vocabulary);

}  // namespace galleon::gpu
