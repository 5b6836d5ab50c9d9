// A model folder put to use without training.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"
#include "worker/engine/model/model.h"
#include "worker/trainer/device_choice.h"

namespace galleon {

struct ModelTokenizer {
  std::string source;
  std::unique_ptr<Tokenizer> tokenizer;
};
// `tokenizer`, or where that is empty the folder's own, or bytes where it has none and the model has their vocabulary.
// INVALID_ARGUMENT: there is none, or it has more tokens than the model.
absl::StatusOr<ModelTokenizer> open_model_tokenizer(const std::string& folder, const std::string& tokenizer,
                                                    const ModelConfig& config);

// A model for inference alone.
struct LoadedModel {
  ModelConfig config;
  std::string tokenizer_source;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Device> device;
  std::unique_ptr<Arena> arena;
  std::vector<Parameter> parameters;
  std::unique_ptr<Model> model;
};

// As a tokenizer of load_model: none is opened, for data that is tokenized already.
inline constexpr char kNoTokenizer[] = "none";

// `folder`: a checkpoint or a Hugging Face folder; `tokenizer`: empty for the folder's own. The model has room for
// `batch` sequences of `sequence` tokens, and is of the type that its weights are stored in. INVALID_ARGUMENT,
// NOT_FOUND: what does not fit or is not there, by the name of the field or tensor.
absl::StatusOr<std::unique_ptr<LoadedModel>> load_model(const std::string& folder, const std::string& tokenizer,
                                                        int64_t batch, int64_t sequence, const DeviceRequest& request,
                                                        Activations activations = Activations::kNone);

}  // namespace galleon
