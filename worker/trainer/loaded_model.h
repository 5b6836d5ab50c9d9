// A model for inference alone, from a checkpoint or a Hugging Face folder.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/model/model.h"

namespace galleon {

struct LoadedModel {
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Device> device;
  std::unique_ptr<Arena> arena;
  std::vector<Parameter> parameters;
  std::unique_ptr<Model> model;
};

// With room for `batch` sequences of `sequence` tokens, in the type that the weights are stored in. `tokenizer`: empty
// is the folder's own, or bytes where it has none and the model has their vocabulary. Errors name the folder, the field
// of config.json or the tensor; a tokenizer with more tokens than the model has is refused.
absl::StatusOr<std::unique_ptr<LoadedModel>> load_model(const std::string& folder, const std::string& tokenizer,
                                                        int64_t batch, int64_t sequence, int threads,
                                                        Activations activations);

// A folder's own tokenizer, or the one that is named, as load_model opens it. INVALID_ARGUMENT: there is none.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_model_tokenizer(const std::string& folder, const std::string& tokenizer,
                                                                const ModelConfig& config);

}  // namespace galleon
