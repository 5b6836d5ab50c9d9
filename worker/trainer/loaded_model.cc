#include "worker/trainer/loaded_model.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/run/recorded_tokens.h"

namespace galleon {

namespace {

constexpr int64_t kByteVocabulary = 257;

}  // namespace

absl::StatusOr<ModelTokenizer> open_model_tokenizer(const std::string& folder, const std::string& tokenizer,
                                                    const ModelConfig& config) {
  std::string source = tokenizer.empty() ? folder : tokenizer;
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened = open_tokenizer(source);
  if (tokenizer.empty() && absl::IsNotFound(opened.status())) {
    // A checkpoint of a model on bytes has no files of a tokenizer.
    if (config.vocabulary != kByteVocabulary)
      return absl::InvalidArgumentError(absl::StrCat(folder, " has no tokenizer; name one with --tokenizer"));
    source = "bytes";
    opened = open_tokenizer(source);
  }
  if (!opened.ok()) return opened.status();
  RETURN_IF_ERROR(use_recorded_tokens(tokenizer.empty() ? folder : tokenizer, **opened));
  if ((*opened)->vocabulary() > config.vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(source, " has ", (*opened)->vocabulary(),
                                                   " pieces, and the model's vocab_size is ", config.vocabulary));
  }
  return ModelTokenizer{source, *std::move(opened)};
}

absl::StatusOr<std::unique_ptr<LoadedModel>> load_model(const std::string& folder, const std::string& tokenizer,
                                                        int64_t batch, int64_t sequence, const DeviceRequest& request,
                                                        Activations activations) {
  auto loaded = std::make_unique<LoadedModel>();
  ASSIGN_OR_RETURN(ModelConfig config, resolve_model_config(folder, {}, 0));
  loaded->config = config;
  if (tokenizer != kNoTokenizer) {
    ASSIGN_OR_RETURN(ModelTokenizer opened, open_model_tokenizer(folder, tokenizer, config));
    loaded->tokenizer_source = std::move(opened.source);
    loaded->tokenizer = std::move(opened.tokenizer);
  }
  loaded->parameters = model_parameters(config, std::nullopt);
  // Before there is memory for any of it.
  RETURN_IF_ERROR(check_weights(folder, loaded->parameters));
  ASSIGN_OR_RETURN(DataType type, stored_weight_type(folder));
  ASSIGN_OR_RETURN(loaded->device, open_device(request));
  loaded->arena = std::make_unique<Arena>(*loaded->device);
  allocate_weights(loaded->parameters, {type}, *loaded->arena);
  loaded->model = make_model(loaded->config, loaded->parameters, batch, sequence, activations, *loaded->arena);
  if (!loaded->arena->status().ok()) return loaded->arena->status();
  RETURN_IF_ERROR(load_weights(folder, loaded->parameters, *loaded->device));
  return loaded;
}

}  // namespace galleon
