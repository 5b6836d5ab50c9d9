#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/run/generation.h"
#include "worker/trainer/loaded_model.h"
#include "worker/trainer/text_commands.h"
#include "worker/trainer/text_stream.h"

namespace galleon {

namespace {

// What a text begins with, as in the model's training: here documents follow the end token of the one before; elsewhere
// the token that the tokenizer has for it. Without one a prompt stands alone: -1.
int32_t first_token(const std::string& folder, const Tokenizer& tokenizer, bool prompted) {
  std::error_code error;
  if (std::filesystem::exists(folder + "/manifest.json", error)) return tokenizer.end_token();
  if (tokenizer.begin_token() >= 0) return tokenizer.begin_token();
  return prompted ? -1 : tokenizer.end_token();
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
  const int32_t first = first_token(options.model, tokenizer, !spoken.empty());
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
  generation.temperature = options.temperature;
  generation.top_p = options.top_p;
  generation.seed = options.seed;
  generation.vocabulary = tokenizer.vocabulary();
  generation.stop = {tokenizer.end_token()};
  if (config.eos_token >= 0) generation.stop.push_back(static_cast<int32_t>(config.eos_token));
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
