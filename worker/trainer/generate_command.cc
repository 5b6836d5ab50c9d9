#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/engine/model/end_tokens.h"
#include "worker/engine/model/sampling_settings.h"
#include "worker/engine/run/generation.h"
#include "worker/trainer/loaded_model.h"
#include "worker/trainer/text_commands.h"
#include "worker/trainer/text_stream.h"

namespace galleon {

namespace {

// What a text begins with, as in the model's training: the token before each document, which a prompt may have written
// itself; without one the end token of the document before. Elsewhere a prompt then stands alone: -1.
int32_t first_token(const std::string& folder, const Tokenizer& tokenizer, const DocumentTokens& around,
                    const std::vector<int32_t>& prompt) {
  if (around.begin >= 0) return !prompt.empty() && prompt.front() == around.begin ? -1 : around.begin;
  std::error_code error;
  if (std::filesystem::exists(folder + "/manifest.json", error) && around.end >= 0) return around.end;
  return prompt.empty() ? tokenizer.end_token() : -1;
}

// The tokens that end a text: of the tokenizer, and those that the model's folder names.
absl::StatusOr<std::vector<int32_t>> stop_tokens(const GenerateOptions& options, const Tokenizer& tokenizer,
                                                 const DocumentTokens& around, const ModelConfig& config) {
  if (options.end_token == "none") return std::vector<int32_t>();
  std::vector<int32_t> stop{around.end >= 0 ? around.end : tokenizer.end_token()};
  if (config.eos_token >= 0) stop.push_back(static_cast<int32_t>(config.eos_token));
  ASSIGN_OR_RETURN(const std::vector<int32_t> named, end_tokens_of_folder(options.model));
  stop.insert(stop.end(), named.begin(), named.end());
  // Where the begin token alone sets documents apart, the next one ends this one.
  if (around.end < 0 && around.begin >= 0) stop.push_back(around.begin);
  return stop;
}

absl::Status set_sampling(const GenerateOptions& options, Sampling& sampling) {
  ASSIGN_OR_RETURN(const SamplingSettings said, sampling_settings(options.model));
  const auto choose = [](auto& value, const auto& given, const auto& of_folder) {
    if (of_folder.has_value()) value = *of_folder;
    if (given.has_value()) value = *given;
  };
  choose(sampling.temperature, options.temperature, said.temperature);
  choose(sampling.top_k, options.top_k, said.top_k);
  choose(sampling.top_p, options.top_p, said.top_p);
  choose(sampling.repetition_penalty, options.repetition_penalty, said.repetition_penalty);
  if (!said.unread.empty())
    log_warning("generation_config.json of ", options.model, " has ", said.unread, ", which generate does not follow");
  return absl::OkStatus();
}

}  // namespace

absl::Status generate(const GenerateOptions& options) {
  ASSIGN_OR_RETURN(ModelConfig config, resolve_model_config(options.model, {}, 0));
  if (config.encoder()) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " holds a ", architecture_name(config.architecture),
                                                   " that classifies; text comes from a language model"));
  }
  ASSIGN_OR_RETURN(ModelTokenizer opened, open_model_tokenizer(options.model, options.tokenizer, config));
  const Tokenizer& tokenizer = *opened.tokenizer;
  std::vector<int32_t> spoken;
  tokenizer.encode(options.prompt, spoken);
  std::vector<int32_t> ids;
  ASSIGN_OR_RETURN(const DocumentTokens around, document_tokens(tokenizer, options.begin_token, options.end_token));
  const int32_t first = first_token(options.model, tokenizer, around, spoken);
  if (first >= 0) ids.push_back(first);
  ids.insert(ids.end(), spoken.begin(), spoken.end());
  // Room for all of it, as far as the model's positions go.
  const auto wanted = static_cast<int64_t>(ids.size()) + options.tokens;
  ASSIGN_OR_RETURN(
      std::unique_ptr<LoadedModel> loaded,
      load_model(options.model, options.tokenizer, 1, std::min(wanted, config.longest_sequence()),
                 DeviceRequest{device_of_word(options.device), 0, 1, options.threads}, Activations::kText));

  GenerationOptions generation;
  generation.tokens = options.tokens;
  RETURN_IF_ERROR(set_sampling(options, generation));
  generation.seed = options.seed;
  generation.vocabulary = tokenizer.vocabulary();
  ASSIGN_OR_RETURN(generation.stop, stop_tokens(options, tokenizer, around, config));
  TextStream stream(tokenizer);
  std::cout << stream.add(spoken) << std::flush;
  generate_tokens(*loaded->model, ids, generation, [&](int32_t token) {
    std::cout << stream.add({token}) << std::flush;
    return std::cout.good();
  });
  std::cout << stream.finish() << "\n";
  return absl::OkStatus();
}

}  // namespace galleon
