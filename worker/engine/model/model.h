// What the engine, evaluation and generation know of a network: passes over a batch, whatever lies between its
// embedding and its loss.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/batch.h"
#include "worker/engine/ground/gradient_sink.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/ground/weight_view.h"
#include "worker/engine/model/model_config.h"

namespace galleon {

// What a model holds between its forward and its backward.
enum class Activations {
  kNone,         // there is no backward
  kText,         // nor here, and the keys and values of one growing text stay: see extend_text
  kAll,          // those of every block
  kBlockInputs,  // each block's input and what is small beside it; the rest lives once and is recomputed, to the
                 // same bits
};

// Where a pass lies in training: what the masks of its dropout are numbered by, whatever the ranks and passes.
struct PassPlace {
  int64_t step = 0;
  int64_t first_token = 0;  // of the step's tokens, each sequence counted in full length
  uint64_t seed = 42;       // of the model's own dropout
};

// A network with room for batches of at most `batch()` sequences of `sequence()` positions. It owns its activations;
// weights are the caller's. On a device that does not execute, a batch needs its two sizes alone.
class Model {
 public:
  Model(const ModelConfig& config, int64_t batch, int64_t sequence)
      : config_(config), batch_(batch), sequence_(sequence) {}
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  const ModelConfig& config() const { return config_; }
  int64_t batch() const { return batch_; }
  int64_t sequence() const { return sequence_; }

  // Where weights are sharded: the network asks for each block's before it computes with them. `weights` must outlive
  // it.
  void use_weights(WeightView& weights) { weights_ = &weights; }

  // Of a language model: what is trained on has `factor` times the square of the logits' log-sum-exp beside the loss.
  void use_z_loss(double factor) { z_loss_ = static_cast<float>(factor); }

  // One pass of training. Returns the sum of the losses: in nats over targets that count, or over sequences where they
  // are classified. Gradients, multiplied by `scale`, go to the sink.
  virtual double forward_backward(const Batch& batch, float scale, GradientSink& sink, const PassPlace& place) = 0;
  // The same sum without a backward, and with nothing dropped.
  virtual double forward_loss(const Batch& batch) = 0;
  // Language models: logits (vocabulary numbers) that follow a sequence of 1 to sequence() tokens.
  virtual std::vector<float> next_logits(const std::vector<int32_t>& ids);
  // Of a language model with Activations::kText: appends to its text, which is empty at first, and returns what
  // next_logits would of all of it, up to rounding. A further token costs one position, not the text again. The text
  // may grow to sequence() tokens; any other pass forgets it.
  virtual std::vector<float> extend_text(const std::vector<int32_t>& ids);
  virtual void clear_text();
  // Classification: a row of numbers for each sequence: the logits of its labels, or the value of a regression.
  virtual std::vector<float> outputs(const Batch& batch);

 protected:
  // Aborts unless the batch fits this model and, on a device that executes, its arrays fit its sizes.
  void check_batch(const Batch& batch, bool executes) const;
  WeightView& weights() { return *weights_; }
  float z_loss() const { return z_loss_; }

 private:
  ModelConfig config_;
  int64_t batch_;
  int64_t sequence_;
  WholeWeights whole_;
  WeightView* weights_ = &whole_;
  float z_loss_ = 0;
};

// The network of `config` over `parameters` (those of model_parameters and, with `lora`, of add_adapters), which must
// outlive it. Activations are of the weights' type; they are allocated here, and the arena's status tells whether there
// was room. kept_inputs: with kBlockInputs, how many blocks' inputs are kept, up to config.layers; the others are
// recomputed as well, to the same bits. 0: all.
std::unique_ptr<Model> make_model(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch,
                                  int64_t sequence, Activations activations, Arena& arena,
                                  const std::optional<LoraOptions>& lora = std::nullopt, int64_t kept_inputs = 0);

}  // namespace galleon
