// Rotary positions and attention with grouped queries, in blocks with an online softmax: no T×T memory.
#pragma once

#include <vector>

#include "kernels/device.h"
#include "kernels/ops/dropout.h"

namespace galleon {

struct AttentionShape {
  int64_t batch = 0;
  int64_t sequence = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;  // divides heads
  int64_t head_dimension = 0;   // at most 256
  bool causal = true;           // a query sees no key after it
  int64_t window = 0;           // > 0, with causal: and none that lies `window` or more before it
  int64_t tokens() const { return batch * sequence; }
};

// Where the sequences of a batch lie, and what attention leaves out.
struct AttentionMask {
  // batch + 1 int32 numbers, ascending: sequence s is the rows row_starts[s] to row_starts[s + 1] of q, k, v, out and
  // their gradients, 1 to `sequence` of them, so that sequences of any length lie one after the other without padding.
  // Rows of no sequence are left as they are; a log_sum beyond a sequence's length is 0. Empty (no rows): sequence s is
  // the `sequence` rows from s·sequence on.
  Tensor row_starts;
  // Of probabilities, after the softmax. Probability (sequence s, head h, query i, key j) is element
  // ((s·heads + h)·span + i)·span + j, counted from `dropout.first`, so that neither padding nor blocks matter.
  DropoutMask dropout;
  int64_t span = 0;  // at least the sequence, where something is dropped
};

// Rotates pairs (i, i + D/2) of every head in place by position·frequencies[i], position = token index within its
// sequence (the half-split layout of Hugging Face's Llama), and multiplies them by `factor`. x: tokens × (heads·D).
// table: positions × D, cosines then sines, from rotary_table; frequencies: D/2 of them. `backward` rotates by the
// negative angle.
void rotary_table(Device& device, const Tensor& table, const std::vector<double>& frequencies, double factor = 1);
void rotary(Device& device, const Tensor& x, const Tensor& table, int64_t sequence, int64_t head_dimension,
            bool backward);

// out ← drop(softmax(q·kᵀ/sqrt(D)))·v over the keys that each query sees, for each sequence and head. q, out: rows ×
// (heads·D); k, v: rows × (key_value_heads·D), with batch·sequence rows or what row_starts says; log_sum: batch·heads ×
// sequence, the logarithm of each row's sum, for the backward.
void attention(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
               const Tensor& out, const Tensor& log_sum, const AttentionMask& mask = {});

// The same for the last position alone, as text grows: row s of q and out is the query at position shape.sequence − 1
// of sequence s, k and v hold all positions. Causal.
void attention_of_last(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& out);

// dq, dk, dv ← gradients (overwritten), recomputing the probabilities block by block.
void attention_backward(Device& device, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& log_sum, const Tensor& dout, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv, const AttentionMask& mask = {});

}  // namespace galleon
