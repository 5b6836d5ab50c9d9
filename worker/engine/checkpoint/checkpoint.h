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
#include "worker/engine/dist/communicator.h"
#include "worker/engine/model/model_config.h"
#include "worker/engine/model/parameters.h"
#include "worker/engine/optim/optimizer.h"

namespace galleon {

// What a checkpoint knows beside tensors.
struct CheckpointHeader {
  std::string job;          // the job's name
  std::string mathematics;  // RunOptions::mathematics
  int64_t step = 0;
  int64_t schedule_steps = 0;
  int64_t warmup_steps = 0;
  int64_t tokens = 0;  // seen so far
  double seconds = 0;  // of training so far
  int64_t ranks = 1;   // that wrote it
  uint64_t epoch = 0;
  uint64_t weights_hash = 0;
  std::vector<int64_t> counts;     // Optimizer::counts
  std::vector<RefreshPace> paces;  // Optimizer::paces
};

// "step-00001000", and ".step-00001000.epoch-7" before its publication.
std::string step_folder_name(int64_t step);
std::string pending_folder_name(int64_t step, uint64_t epoch);

// Steps of the checkpoints in a folder that have a manifest, oldest first. A folder that does not exist has none.
std::vector<int64_t> list_checkpoints(const std::string& folder);
// The manifest alone. NOT_FOUND: there is none; DATA_LOSS: it is damaged.
absl::StatusOr<CheckpointHeader> read_checkpoint_header(const std::string& step_folder);
// Every file of the manifest against its size, and against its checksum if `deep`. DATA_LOSS names the file.
absl::Status verify_checkpoint(const std::string& step_folder, bool deep);

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
};

// A collective: each rank writes the state that it owns, rank 0 the rest; weight hashes are compared, a difference is
// INTERNAL. All ranks get the same verdict. What is left of a failed attempt is removed, and older checkpoints stay.
absl::Status save_checkpoint(const std::string& folder, const CheckpointHeader& header,
                             const CheckpointContent& content, Communicator& communicator, const PublicationGate& gate);

// Renames a complete pending folder to its final name, never over an existing one.
absl::Status publish_checkpoint(const std::string& folder, int64_t step, uint64_t epoch);

// Loads weights and this rank's part of the optimizer's state, from any number of shards.
absl::Status load_checkpoint(const std::string& step_folder, const CheckpointHeader& header,
                             const CheckpointContent& content);

// Whether the weights are now those that were saved: DATA_LOSS. A collective, so that every rank must have loaded.
absl::Status check_loaded_weights(const std::string& step_folder, const CheckpointHeader& header,
                                  const CheckpointContent& content);

// Loads weights alone, adapters left out, from a Hugging Face folder (model.safetensors, or shards by
// model.safetensors.index.json). Missing, extra and misshapen tensors are named with both shapes, and so is one that
// holds NaN or Inf. The heads that an encoder was pretrained with are passed over. Where `fresh` is given, layers of a
// classifier may be missing: they keep the weights that they have, and their names are appended.
absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh = nullptr);

// Whether load_weights would find what it needs, from the files' headers alone: the parameters need no memory.
absl::Status check_weights(const std::string& folder, const std::vector<Parameter>& parameters,
                           std::vector<std::string>* fresh = nullptr);

// bf16 if all weights of a Hugging Face folder are, otherwise fp32: what to compute in where nobody says.
absl::StatusOr<DataType> stored_weight_type(const std::string& folder);

// Removes all but the newest `keep` checkpoints and what unfinished attempts below `epoch` left.
void prune_checkpoints(const std::string& folder, int64_t keep, uint64_t epoch);

}  // namespace galleon
