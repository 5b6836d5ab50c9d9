#include "worker/trainer/text_commands.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/data/token_source.h"
#include "worker/engine/run/training.h"

namespace galleon {

namespace {

// A model for inference alone.
struct LoadedModel {
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Device> device;
  std::unique_ptr<Arena> arena;
  std::vector<Parameter> parameters;
  std::unique_ptr<Model> model;
};

absl::StatusOr<std::unique_ptr<LoadedModel>> load_model(const std::string& folder, const std::string& tokenizer,
                                                        int64_t batch, int64_t sequence, int threads) {
  auto loaded = std::make_unique<LoadedModel>();
  absl::StatusOr<ModelConfig> config = resolve_model_config(folder, {}, 0);
  if (!config.ok()) return config.status();
  loaded->config = *config;
  std::string source = tokenizer;
  std::error_code error;
  if (source.empty() && std::filesystem::exists(folder + "/tokenizer.model", error))
    source = folder + "/tokenizer.model";
  if (source.empty() && config->vocabulary == 257) source = "bytes";
  if (source.empty())
    return absl::InvalidArgumentError(absl::StrCat(folder, " has no tokenizer.model; name one with --tokenizer"));
  absl::StatusOr<std::unique_ptr<Tokenizer>> opened = open_tokenizer(source);
  if (!opened.ok()) return opened.status();
  loaded->tokenizer = *std::move(opened);
  if (loaded->tokenizer->vocabulary() > config->vocabulary) {
    return absl::InvalidArgumentError(absl::StrCat(source, " has ", loaded->tokenizer->vocabulary(),
                                                   " pieces, and the model's vocab_size is ", config->vocabulary));
  }
  loaded->device = make_cpu_device(threads);
  loaded->arena = std::make_unique<Arena>(*loaded->device);
  loaded->parameters = model_parameters(*config, std::nullopt);
  absl::StatusOr<DataType> type = stored_weight_type(folder);
  if (!type.ok()) return type.status();
  allocate_weights(loaded->parameters, {*type}, *loaded->arena);
  loaded->model = make_model(loaded->config, loaded->parameters, batch, sequence, Activations::kNone, *loaded->arena);
  if (!loaded->arena->status().ok()) return loaded->arena->status();
  if (absl::Status s = load_weights(folder, loaded->parameters, *loaded->device); !s.ok()) return s;
  return loaded;
}

// One token drawn from the smallest set of most probable ones whose mass reaches top_p (Holtzman 2020).
int32_t sample(const std::vector<float>& logits, double temperature, double top_p, std::mt19937_64& random) {
  if (temperature <= 0) return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  std::vector<double> mass(logits.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    mass[i] = std::exp((logits[order[i]] - logits[order[0]]) / temperature);
    total += mass[i];
  }
  size_t kept = 0;
  double cumulative = 0;
  while (kept < order.size() && cumulative < top_p * total) cumulative += mass[kept++];
  // 53 random bits, so that the draw is the same on every platform.
  double draw = static_cast<double>(random() >> 11) * 0x1.0p-53 * cumulative;
  for (size_t i = 0; i < kept; ++i) {
    draw -= mass[i];
    if (draw < 0) return order[i];
  }
  return order[kept > 0 ? kept - 1 : 0];
}

}  // namespace

absl::Status evaluate(const EvaluateOptions& options) {
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model, {}, 0);
  if (!config.ok()) return config.status();
  const int64_t length =
      options.sequence_length > 0 ? options.sequence_length : std::min<int64_t>(256, config->max_positions);
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded =
      load_model(options.model, options.tokenizer, options.batch, length, options.threads);
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

absl::Status generate(const GenerateOptions& options) {
  absl::StatusOr<ModelConfig> config = resolve_model_config(options.model, {}, 0);
  if (!config.ok()) return config.status();
  if (config->encoder()) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, " holds a ", architecture_name(config->architecture),
                                                   " that classifies; text comes from a language model"));
  }
  // The window is what is asked for, or the model's longest; beyond it the oldest tokens are left behind.
  std::vector<int32_t> ids;
  absl::StatusOr<std::unique_ptr<LoadedModel>> loaded =
      load_model(options.model, options.tokenizer, 1, std::min<int64_t>(config->max_positions, 256), options.threads);
  if (!loaded.ok()) return loaded.status();
  const Tokenizer& tokenizer = *(*loaded)->tokenizer;
  // Documents follow the end token in training, so it begins one.
  ids.push_back(tokenizer.end_token());
  if (!options.prompt.empty()) tokenizer.encode(options.prompt, ids);
  std::vector<int32_t> spoken(ids.begin() + 1, ids.end());
  std::string printed;
  auto print_new = [&] {
    const std::string text = tokenizer.decode(spoken);
    // A character may need several tokens: print up to the last whole one.
    size_t end = text.size();
    while (end > printed.size() && (static_cast<unsigned char>(text[end - 1]) & 0x80U) != 0 && text.size() - end < 4) {
      const bool lead = (static_cast<unsigned char>(text[end - 1]) & 0xC0U) == 0xC0U;
      --end;
      if (lead) break;
    }
    if (end == printed.size() || end == 0) return;
    std::cout << text.substr(printed.size(), end - printed.size()) << std::flush;
    printed = text.substr(0, end);
  };
  print_new();
  std::mt19937_64 random(options.seed);
  const int64_t window = (*loaded)->model->sequence();
  for (int64_t i = 0; i < options.tokens; ++i) {
    const int64_t start = std::max<int64_t>(0, static_cast<int64_t>(ids.size()) - window);
    const std::vector<float> logits = (*loaded)->model->next_logits({ids.begin() + start, ids.end()});
    const int32_t next = sample(logits, options.temperature, options.top_p, random);
    if (next == tokenizer.end_token()) break;
    ids.push_back(next);
    spoken.push_back(next);
    print_new();
  }
  const std::string text = tokenizer.decode(spoken);
  if (text.size() > printed.size()) std::cout << text.substr(printed.size());
  std::cout << "\n";
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
