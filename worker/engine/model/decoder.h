// A decoder of Llama's kind: forward, loss and backward over a batch of sequences, with gradients handed on as factors.
// Norm outputs and the SwiGLU product are recomputed in the backward; attention keeps its row sums, never a T×T matrix.
// What does not live at the same time shares its memory.
//
// Shapes stand beside tensors: B sequences of T positions, C hidden numbers, H heads and K key-value heads of D
// numbers, F numbers in the MLP, V words.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops/attention.h"
#include "worker/engine/model/layers.h"
#include "worker/engine/model/model.h"
#include "worker/engine/model/recompute_order.h"

namespace galleon {

class Decoder final : public Model {
 public:
  // Activations are of the weights' type. Allocates them for `batch` sequences of `sequence` tokens.
  Decoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
          Activations activations, Arena& arena, const std::optional<LoraOptions>& lora = std::nullopt,
          int64_t kept_inputs = 0);

  double forward_backward(const Batch& batch, float scale, GradientSink& sink, const PassPlace& place) override;
  double forward_loss(const Batch& batch) override;
  std::vector<float> next_logits(const std::vector<int32_t>& ids) override;
  std::vector<float> extend_text(const std::vector<int32_t>& ids) override;
  void clear_text() override { text_.clear(); }

 private:
  struct Block {
    Linear query, key, value, output, gate, up, down;
    int query_norm, key_norm;  // of every head; -1: none
    int attention_norm, mlp_norm;
    int64_t window;                       // of attention; 0: none
    Tensor input;                         // (B·T, C): the residual stream before the block
    Tensor inverse_rms_attention;         // (B·T)
    Tensor raw_q, raw_k;                  // (B·T, H·D), (B·T, K·D): before their norms; empty without
    Tensor inverse_rms_q, inverse_rms_k;  // (B·T·H), (B·T·K)
    Tensor q, k, v;                       // (B·T, H·D), (B·T, K·D), (B·T, K·D): after rotation
    Tensor keys, values;                  // of a pass: k and v with those of the text before it
    Tensor attended;                      // (B·T, H·D)
    Tensor log_sum;                       // (B·H, T)
    Tensor middle;                        // (B·T, C): the residual stream between attention and MLP
    Tensor inverse_rms_mlp;               // (B·T)
    Tensor gates, ups;                    // (B·T, F)
    // Gradients of attention, of the shapes of attended, q, k and v, where gates and ups were: the backward of the MLP
    // comes first.
    Tensor dattended, dq, dk, dv;
  };

  // Allocates what the constructor wants, in decoder_memory.cc.
  class Memory;
  // The indices of the parameters of block `number`.
  void bind(const ParameterNames& names, int64_t number, Block& block) const;
  // `past`: positions of the text before this pass, which is then one token.
  void begin_pass(const Batch& batch, int64_t past = 0);
  std::vector<float> last_logits(const std::vector<int32_t>& ids, int64_t past);
  // A block whose tensors are the rows of this pass.
  Block of_pass(const Block& block) const;
  void forward(const int32_t* ids);
  // `addition`: what the previous block's MLP is added to, which happens together with this block's first norm; null
  // for the first.
  void forward_block(const Block& block, const Tensor* addition, const Tensor& output);
  // From the first norm's output in `normed_` to the gates and ups. `block`: of the pass.
  void forward_within_block(const Block& block);
  // Recomputes the input of `block` from that of the block before it.
  void recompute_input(const Block& before, const Block& block);
  // y ← norm(x + addition), x ← x + addition.
  void normalize(const Tensor& x, const Tensor* addition, int weight, const Tensor& y, const Tensor& inverse_rms);
  void backward_block(const Block& block, GradientSink& sink);
  double head_loss();
  double head_backward(float scale, GradientSink& sink);
  // The embedding's gradient to the sink, some rows at a time.
  void embedding_by_rows(const Batch& batch, GradientSink& sink);
  // dy ← gradient with respect to what a norm of the heads was given.
  void head_norm_backward(int norm, const Tensor& raw, const Tensor& inverse_rms, const Tensor& dy, GradientSink& sink);
  // Of the pass: its rows of a tensor for all tokens, its tokens, its attention.
  Tensor top(const Tensor& t) const { return t.row_range(0, tokens()); }
  int64_t tokens() const { return sequences_ * length_; }
  // Rows of heads: a tensor of queries or keys as one row for each token and head.
  Tensor by_heads(const Tensor& t) const;
  AttentionShape attention_shape(const Block& block) const;

  Layers layers_;
  Device& device_;
  DataType type_;  // of weights and activations
  Activations kept_;
  RecomputeOrder order_;
  // The first block's input is embedded a second time, in the memory of the last input that is kept.
  bool recomputes_embedding_;
  int64_t sequences_ = 0;  // of the pass
  int64_t length_ = 0;     // of its sequences
  int64_t past_ = 0;       // positions before them, whose keys and values are kept
  std::vector<int32_t> text_;
  int64_t head_rows_;  // tokens whose logits exist at a time
  int embedding_ = 0;  // indices of parameters
  int final_norm_ = 0;
  int head_ = 0;  // the embedding, where they are tied
  std::vector<Block> blocks_;
  Tensor rotary_;                  // (T, D): cosines, then sines
  int64_t rotary_length_ = 0;      // that the frequencies in it are for
  Tensor ids_, targets_, losses_;  // (B·T)
  Tensor last_;                    // (B·T, C): the residual stream after the last block
  Tensor inverse_rms_last_;        // (B·T)
  Tensor dx_;                      // (B·T, C): gradient of the residual stream
  // (B·T, C): output of the last norm, what the head reads; dx_ where there is one, which begins behind it.
  Tensor last_normed_;
  // One piece of memory. In a block: the output of whichever norm is in use and its gradient, or SwiGLU's product and
  // its gradient. In the head: the gradient of the last norm's output, and logits.
  Tensor normed_, dnormed_;  // (B·T, C)
  Tensor activated_;         // (B·T, F)
  Tensor dlast_normed_;      // (B·T, C)
  Tensor logits_;            // (head rows, V)
  // (B·T, V), where the head's gradient is wanted by rows. Where blocks are recomputed, it lies over what the last one
  // left.
  Tensor dlogits_;
};

}  // namespace galleon
