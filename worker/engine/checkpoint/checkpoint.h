// Checkpoints: a folder `step-00001000` that Hugging Face transformers load as it is, with `optimizer/` for an exact
// resume and a manifest of sizes and checksums that is written last. Without a valid manifest a checkpoint does not
// exist.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/checkpoint/manifest.h"
#include "worker/engine/checkpoint/model_weights.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/model/model_config.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// Asked by rank 0 between the last byte of a checkpoint and its rename; an error means that it must not be published.
using PublicationGate = std::function<absl::Status(int64_t step, const std::string& final_folder)>;

struct CheckpointContent {
  const ModelConfig& config;
  const std::vector<Parameter>& parameters;
  Device& device;
  Optimizer& optimizer;
  std::vector<std::string> tokenizer_files;
  // Of a run with adapters: they are merged into model.safetensors, and kept beside it for an exact resume.
  std::optional<LoraOptions> lora;
  WeightView& weights;
  std::string chat_template = {};  // that the conversations were written with; empty: there were none
  // The folder whose weights the frozen ones are: with it the adapters are written for peft as well. Empty: none is.
  std::string adapter_base = {};
};

// Renames a complete pending folder to its final name, never over an existing one.
absl::Status publish_checkpoint(const std::string& folder, int64_t step, uint64_t epoch);

// Loads weights and this rank's part of the optimizer's state, from any number of shards.
absl::Status load_checkpoint(const std::string& step_folder, const CheckpointHeader& header,
                             const CheckpointContent& content);

// Whether the weights are now those that were saved: DATA_LOSS. A collective, so that every rank must have loaded.
absl::Status check_loaded_weights(const std::string& step_folder, const CheckpointHeader& header,
                                  const CheckpointContent& content);

}  // namespace galleon
