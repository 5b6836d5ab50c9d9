#include "worker/trainer/text_commands.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "worker/engine/data/token_source.h"
#include "worker/engine/run/training.h"
#include "worker/trainer/loaded_model.h"

namespace galleon {

absl::Status evaluate(const EvaluateOptions& options) {
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model, {}, 0);
  if (!config.ok()) return config.status();
  const int64_t length =
      options.sequence_length > 0 ? options.sequence_length : std::min<int64_t>(256, config->max_positions);
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded =
      load_model(options.model, options.tokenizer, options.batch, length, options.threads, Activations::kNone);
  if (!loaded.ok()) return loaded.status();
  DataOptions data;
  data.format = options.format;
  data.text_field = options.text_field;
  absl::StatusOr<std::vector<int32_t>> tokens =
      load_tokens(data, options.data, "--data", (*loaded)->tokenizer.get(), (*loaded)->config.vocabulary);
  if (!tokens.ok()) return tokens.status();
  const double entropy = unigram_entropy(*tokens, (*loaded)->config.vocabulary);
  absl::StatusOr<Windows> windows = Windows::create(*std::move(tokens), length, false, 0, "--data");
  if (!windows.ok()) return windows.status();
  int64_t count = windows->count();
  if (options.tokens > 0) count = std::min(count, (options.tokens + length - 1) / length);
  std::unique_ptr<Communicator> alone = make_single_communicator(*(*loaded)->device);
  const EvaluationLine line = evaluate_windows(*(*loaded)->model, *windows, count, *alone, 0);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"loss", line.validation_loss},
                                        {"perplexity", line.perplexity()},
                                        {"tokens", line.validation_tokens},
                                        {"unigram_entropy", entropy},
                                        {"metrics", nlohmann::ordered_json::object()}}
                     .dump()
              << "\n";
  } else {
    std::cout << absl::StrFormat(
        "loss             %.4f nats per token\nperplexity       %.2f\ntokens           %d\nunigram entropy  %.4f "
        "nats\n",
        line.validation_loss, line.perplexity(), line.validation_tokens, entropy);
  }
  return absl::OkStatus();
}

absl::Status tokenize(const TokenizeOptions& options) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(options.tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  DataOptions data;
  data.format = options.format;
  data.text_field = options.text_field;
  const int64_t vocabulary = (*tokenizer)->vocabulary();
  absl::StatusOr<std::vector<int32_t>> tokens =
      load_tokens(data, options.input, "--input", tokenizer->get(), vocabulary);
  if (!tokens.ok()) return tokens.status();
  const int width = vocabulary > 65536 ? 4 : 2;
  std::string out;
  out.reserve(tokens->size() * width);
  for (const int32_t id : *tokens) {
    for (int b = 0; b < width; ++b) out.push_back(static_cast<char>(id >> (8 * b)));
  }
  if (absl::Status s = write_file_durably(options.output, out); !s.ok()) return s;
  std::cout << tokens->size() << " tokens, " << width * 8 << " bits each, " << options.output << "\n";
  return absl::OkStatus();
}

}  // namespace galleon
