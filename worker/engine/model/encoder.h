// BERT and RoBERTa with a head over whole sequences: classification, or a regression where there is one label. Layer
// norms follow the residual sums; a sequence's first token stands for it. Outputs of norms and of GELU are recomputed
// in the backward; dropout's masks are numbered by place, so that the backward, ranks and recomputation see the same.
//
// Shapes stand beside tensors: B sequences of T positions, without the padding of those that are shorter, C hidden
// numbers, H heads, F numbers in the MLP, L labels.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/ops/attention.h"
#include "worker/engine/model/layers.h"
#include "worker/engine/model/model.h"
#include "worker/engine/model/recompute_order.h"

namespace galleon {

class Encoder final : public Model {
 public:
  // Allocates activations for `batch` sequences of `sequence` tokens.
  Encoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
          Activations activations, Arena& arena, const std::optional<LoraOptions>& lora = std::nullopt,
          int64_t kept_inputs = 0);

  double forward_backward(const Batch& batch, float scale, GradientSink& sink, const PassPlace& place) override;
  double forward_loss(const Batch& batch) override;
  std::vector<float> outputs(const Batch& batch) override;
  // What leaves the last block: a row of config().hidden numbers for each position of the batch, zeros for
  // padding.
  std::vector<float> hidden_states(const Batch& batch);

 private:
  struct Norm {
    int weight = -1;
    int bias = -1;
  };
  struct Block {
    int64_t number = 0;
    Linear query, key, value, output, up, down;
    Norm attention_norm, mlp_norm;
    Tensor input;                 // (B·T, C)
    Tensor q, k, v;               // (B·T, C)
    Tensor attended;              // (B·T, C)
    Tensor log_sum;               // (B·H, T)
    Tensor attention_sum;         // (B·T, C): what the first norm reads: input + dropped output of attention
    Tensor attention_statistics;  // (B·T, 2)
    Tensor wide;                  // (B·T, F), before GELU
    Tensor mlp_sum;               // (B·T, C): what the second norm reads
    Tensor mlp_statistics;        // (B·T, 2)
  };
  // Where dropout takes place, in the order of a pass; a block's places follow one another.
  enum class Drop { kEmbeddings, kClassifier, kClassifierDense, kProbabilities, kAttention, kMlp };

  // The constructor's parts: indices of parameters by name, and activations of a time each.
  class Memory;
  void bind(const ParameterNames& names);
  void bind(const ParameterNames& names, int64_t number, Block& block) const;
  static Norm norm_of(const ParameterNames& names, const std::string& name);
  std::string body() const;  // what names of parameters begin with, "bert."

  void begin_pass(const Batch& batch);
  Block of_pass(const Block& block) const;
  void forward();
  void forward_embeddings();
  // From the block's input to what its second norm reads.
  void forward_within_block(const Block& block);
  // The second norm: from what it reads to `output`. Its memory of the first norm's output is used up.
  void leave_block(const Block& block, const Tensor& output);
  void backward_block(const Block& block, GradientSink& sink);
  void backward_embeddings(GradientSink& sink);
  // From the last block to outputs_.
  void forward_head();
  // The sum of the losses; with a scale the gradient of the outputs takes their place.
  double head_loss(const Batch& batch, std::optional<float> scale);
  void backward_head(GradientSink& sink);
  // x ← drop(x) in a pass of training.
  void drop(Drop place, int64_t block, const Tensor& x, double probability) const;
  DropoutMask mask_of(Drop place, int64_t block, double probability) const;
  AttentionMask attention_mask(int64_t block) const;
  AttentionShape attention_shape() const;
  void norm_backward(const Norm& norm, const Tensor& x, const Tensor& statistics, const Tensor& dy, GradientSink& sink);
  // Where the pass's rows lie: sequences one after the other without their padding.
  void lay_out(const Batch& batch);
  // What the batch has for its positions, by rows; `filler` where a row belongs to no sequence of it.
  std::vector<int32_t> by_rows(const std::vector<int32_t>& positions, int32_t filler) const;
  // The rows of a tensor that belong to this pass, and those of one of its sequences.
  Tensor top(const Tensor& t) const { return t.row_range(0, tokens()); }
  Tensor of_sequence(const Tensor& t, int64_t s) const {
    return t.row_range(row_starts_[s], row_starts_[s + 1] - row_starts_[s]);
  }
  int64_t tokens() const { return row_starts_.back(); }

  Layers layers_;
  Device& device_;
  DataType type_;  // of weights and activations
  Activations kept_;
  RecomputeOrder order_;
  int64_t sequences_ = 0;  // of the pass
  int64_t length_ = 0;     // of the longest of them, or more
  // Of each sequence, and where the last one ends; a last one may be there that fills up rows and is none of the batch.
  std::vector<int32_t> row_starts_;
  bool ragged_ = false;
  bool numbered_ = false;                      // rows are not those of sequences of full length
  int words_ = 0, positions_ = 0, types_ = 0;  // parameter indices
  Norm embedding_norm_;
  Linear dense_;  // BERT's pooler, the first layer of RoBERTa's head
  Linear classifier_;
  std::vector<Block> blocks_;
  Tensor ids_, position_ids_, type_ids_, row_numbers_;  // (B·T)
  Tensor starts_;                                       // (B + 2)
  Tensor targets_, labels_, losses_;                    // (B)
  Tensor embedding_sum_;                                // (B·T, C)
  Tensor embedding_statistics_;                         // (B·T, 2)
  Tensor last_;                                         // (B·T, C): what leaves the last block
  Tensor scratch_;                  // (B·T, C): output of the first norm of a block, and sums on their way
  Tensor activated_;                // (B·T, F)
  Tensor first_;                    // (B, C): first tokens, dropped where RoBERTa does so
  Tensor pooled_;                   // (B, C): after the hyperbolic tangent
  Tensor dropped_;                  // (B, C): and after dropout
  Tensor outputs_;                  // (B, L)
  Tensor dx_;                       // (B·T, C): the gradient on its way through the blocks
  Tensor dscratch_, dq_, dk_, dv_;  // (B·T, C)
  Tensor dpooled_;                  // (B, C)
};

}  // namespace galleon
