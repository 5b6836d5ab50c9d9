// The Llama decoder: forward, loss and backward over a batch of sequences, with gradients handed on as factors. Norm
// outputs and the SwiGLU product are computed again in the backward; attention keeps its row sums, never a T×T matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops/attention.h"
#include "worker/engine/model/llama_config.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/gradient_sink.h"

namespace galleon {

// What a model holds between its forward and its backward.
enum class Activations {
  kNone,         // there is no backward
  kAll,          // those of every block
  kBlockInputs,  // each block's input and its row of norms; the rest lives once and is computed again, to the same bits
};

// Where a pass lies in training: what the masks of its dropout are numbered by, whatever the ranks and passes.
struct PassPlace {
  int64_t step = 0;
  int64_t first_token = 0;  // of the step's tokens
};

class Llama {
 public:
  // Activations are of the weights' type. Allocates them for `batch` sequences of `sequence` tokens.
  Llama(const LlamaConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
        Activations activations, Arena& arena, const std::optional<LoraOptions>& lora = std::nullopt);

  const LlamaConfig& config() const { return config_; }
  int64_t batch() const { return batch_; }
  int64_t sequence() const { return sequence_; }

  // Where weights are sharded: the model asks for each block's before it computes with them. `weights` must outlive it.
  void use_weights(WeightView& weights) { weights_ = &weights; }

  // ids, targets: batch·sequence host integers; a negative target is not counted. Returns the sum of the losses in
  // nats; gradients, multiplied by `scale`, go to the sink.
  double forward_backward(const int32_t* ids, const int32_t* targets, float scale, GradientSink& sink,
                          const PassPlace& place = {});
  // The sum of the losses of the first `sequences` sequences.
  double forward_loss(const int32_t* ids, const int32_t* targets, int64_t sequences);
  // Logits (vocabulary numbers) that follow the token at `position` of the one sequence ids[0..position].
  std::vector<float> next_logits(const int32_t* ids, int64_t position);

 private:
  struct Block {
    int query, key, value, output, gate, up, down, attention_norm, mlp_norm;  // parameter indices
    Tensor input;  // tokens×hidden: the residual stream before the block
    Tensor inverse_rms_attention;
    Tensor q, k, v;   // after rotation
    Tensor attended;  // tokens×query width
    Tensor log_sum;
    Tensor middle;  // the residual stream between attention and MLP
    Tensor inverse_rms_mlp;
    Tensor gates, ups;  // tokens×intermediate
  };

  void forward(const int32_t* ids, int64_t sequences);
  // `addition`: what the previous block's MLP is added to, which happens together with this block's first norm; null
  // for the first.
  void forward_block(const Block& block, const Tensor* addition, const Tensor& output, int64_t sequences);
  // From the first norm's output in `normed_` to the gates and ups.
  void forward_within_block(const Block& block, int64_t sequences);
  // y ← norm(x + addition), x ← x + addition.
  void normalize(const Tensor& x, const Tensor* addition, int weight, const Tensor& y, const Tensor& inverse_rms);
  void backward_block(const Block& block, GradientSink& sink);
  double head_loss(int64_t tokens);
  double head_backward(float scale, GradientSink& sink);
  // y ← x·Wᵀ, and what the adapter of W adds.
  void project(int parameter, const Tensor& x, const Tensor& y);
  // dx ← dy·W + beta·dx (and what the adapter of W adds), then the factors to the sink.
  void project_backward(int parameter, const Tensor& x, const Tensor& dy, const Tensor& dx, float beta,
                        GradientSink& sink);
  // Where the gradient of a norm or an embedding goes; empty if it is frozen.
  Tensor dense_gradient(int parameter, GradientSink& sink);
  void finished(int parameter, GradientSink& sink);
  Adapter adapter_of(const Parameter& p) const;
  AttentionShape attention_shape(int64_t sequences) const;
  int head_parameter() const;

  LlamaConfig config_;
  std::vector<Parameter>& parameters_;
  WholeWeights whole_;
  WeightView* weights_ = &whole_;
  Device& device_;
  int64_t batch_;
  int64_t sequence_;
  DataType type_;  // of weights and activations
  Activations kept_;
  std::optional<LoraOptions> lora_;
  std::optional<PassPlace> place_;  // during a pass of training; without it nothing is dropped
  int64_t head_rows_;               // tokens whose logits exist at a time
  int final_norm_ = 0;
  std::vector<Block> blocks_;
  Tensor rotary_;
  Tensor ids_, targets_, losses_;
  Tensor last_;  // the residual stream after the last block
  Tensor inverse_rms_last_;
  Tensor normed_;     // tokens×hidden: output of whichever norm is in use
  Tensor activated_;  // tokens×intermediate: SwiGLU's product, then its gradient's
  Tensor logits_;
  Tensor dx_, dnormed_;  // gradients of the residual stream and of a norm's output
  Tensor dattended_, dq_, dk_, dv_;
};

}  // namespace galleon
