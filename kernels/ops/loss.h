// Cross-entropy over a vocabulary.
#pragma once

#include "kernels/device.h"

namespace galleon {

// For each row t with targets[t] ≥ 0: losses[t] ← log(sum(exp(logits[t]))) − logits[t][targets[t]] in nats, and
// logits[t] ← (softmax(logits[t]) − onehot(targets[t])) · scale. Rows with a negative target get loss 0 and gradient 0.
// logits: tokens×vocabulary, overwritten; targets: tokens int32 < vocabulary; losses: tokens numbers.
void cross_entropy(Device& device, const Tensor& logits, const Tensor& targets, float scale, const Tensor& losses);

// The losses alone; logits are only read.
void cross_entropy_forward(Device& device, const Tensor& logits, const Tensor& targets, const Tensor& losses);

}  // namespace galleon
