// Rotary positions and causal attention with grouped queries, in blocks with an online softmax: no T×T memory.
#pragma once

#include "kernels/device.h"

namespace galleon {

struct AttentionShape {
  int64_t batch = 0;
  int64_t sequence = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;  // divides heads
  int64_t head_dimension = 0;   // even, at most 256
  int64_t tokens() const { return batch * sequence; }
};

// Rotates pairs (i, i + D/2) of every head in place by position·theta^(-2i/D), position = token index within its
// sequence (the half-split layout of Hugging Face's Llama). x: tokens × (heads·D). table: sequence × D, cosines then
// sines, from rotary_table. `backward` rotates by the negative angle.
void rotary_table(Device& device, const Tensor& table, float theta);
void rotary(Device& device, const Tensor& x, const Tensor& table, int64_t sequence, int64_t head_dimension,
            bool backward);

// out ← softmax(q·kᵀ/sqrt(D), causal)·v for each sequence and head. q, out: tokens × (heads·D); k, v: tokens ×
// (key_value_heads·D); log_sum: batch·heads × sequence, the logarithm of each row's sum, for the backward.
void attention(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
               const Tensor& out, const Tensor& log_sum);

// dq, dk, dv ← gradients (overwritten), recomputing the probabilities block by block.
void attention_backward(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& log_sum, const Tensor& dout, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv);

}  // namespace galleon
