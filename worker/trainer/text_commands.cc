#include "worker/trainer/text_commands.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <numeric>
#include <random>
#include <vector>

#include "worker/trainer/loaded_model.h"

namespace galleon {

namespace {

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

}  // namespace galleon
