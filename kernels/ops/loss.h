// Losses: cross-entropy over a vocabulary or over classes, and the squared error of a regression.
#pragma once

#include "kernels/device.h"

namespace galleon {

// For each row t with targets[t] ≥ 0: losses[t] ← log(sum(exp(logits[t]))) − logits[t][targets[t]] in nats, and
// gradient[t] ← (softmax(logits[t]) − onehot(targets[t])) · scale. Rows with a negative target get loss 0 and gradient
// 0. logits: tokens×vocabulary fp32, destroyed; targets: tokens int32 < vocabulary; losses: tokens numbers; gradient:
// of the logits' shape, fp32 or bf16: the logits themselves, `gradient_over(logits, type)`, or memory of its own.
// z_loss: the gradient is that of the loss plus z_loss·log²(sum(exp(logits))) (Chowdhery et al. 2022, PaLM, §5), which
// `losses` leave out.
void cross_entropy(Device& device, const Tensor& logits, const Tensor& targets, float scale, const Tensor& losses,
                   const Tensor& gradient, float z_loss = 0);

// A tensor of `type` in the memory of the fp32 tensor `logits`, each row at the beginning of that of the logits.
Tensor gradient_over(const Tensor& logits, DataType type);

// The losses alone; logits are only read.
void cross_entropy_forward(Device& device, const Tensor& logits, const Tensor& targets, const Tensor& losses);

// losses[s] ← (outputs[s] − labels[s])²; gradient[s] ← 2·(outputs[s] − labels[s])·scale, left out where `gradient` is
// empty (no rows). outputs, labels, losses, gradient: sequences×1, fp32; gradient may be outputs.
void squared_error(Device& device, const Tensor& outputs, const Tensor& labels, float scale, const Tensor& losses,
                   const Tensor& gradient);

}  // namespace galleon
