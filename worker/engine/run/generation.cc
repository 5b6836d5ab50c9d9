#include "worker/engine/run/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/check.h"

namespace galleon {

int32_t sample_token(const std::vector<float>& logits, const Sampling& sampling, std::mt19937_64& random) {
  const auto largest = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (sampling.temperature <= 0) return largest;
  std::vector<double> mass(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    total += mass[i] = std::exp((static_cast<double>(logits[i]) - logits[largest]) / sampling.temperature);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int32_t a, int32_t b) { return mass[a] > mass[b] || (mass[a] == mass[b] && a < b); };
  size_t sorted = 0;
  const auto sort_to = [&](size_t count) {
    std::partial_sort(order.begin() + static_cast<int64_t>(sorted), order.begin() + static_cast<int64_t>(count),
                      order.end(), before);
    sorted = count;
  };
  const size_t most = sampling.top_k > 0 ? std::min(order.size(), static_cast<size_t>(sampling.top_k)) : order.size();
  if (most < order.size()) {
    sort_to(most);
    total = std::accumulate(order.begin(), order.begin() + static_cast<int64_t>(most), 0.0,
                            [&](double sum, int32_t token) { return sum + mass[token]; });
  }
  // Most of the mass lies on few tokens: more and more of them are sorted, until it is enough.
  size_t kept = 0;
  double cumulative = 0;
  while (kept < most && (kept == 0 || cumulative < sampling.top_p * total)) {
    if (kept == sorted) sort_to(std::min(most, std::max<size_t>(64, 4 * sorted)));
    cumulative += mass[order[kept++]];
  }
  // 53 random bits.
  double draw = static_cast<double>(random() >> 11) * 0x1.0p-53 * cumulative;
  for (size_t i = 0; i < kept; ++i) {
    draw -= mass[order[i]];
    if (draw < 0) return order[i];
  }
  return order[kept - 1];
}

void penalize_repetition(std::vector<float>& logits, const std::vector<int32_t>& text, double penalty) {
  if (penalty == 1) return;
  std::vector<int32_t> tokens = text;
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  for (const int32_t token : tokens) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<size_t>(token)];
    logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
  }
}

void generate_tokens(Model& model, const std::vector<int32_t>& prompt, const GenerationOptions& options,
                     const std::function<bool(int32_t)>& emit) {
  GALLEON_CHECK(!prompt.empty()) << "a text begins with a token";
  const int64_t room = model.sequence();
  const auto tail = [](const std::vector<int32_t>& ids, int64_t count) {
    return std::vector<int32_t>(ids.end() - std::min<int64_t>(count, static_cast<int64_t>(ids.size())), ids.end());
  };
  std::mt19937_64 random(options.seed);
  std::vector<int32_t> text = tail(prompt, room);
  std::vector<int32_t> next = text;
  std::vector<int32_t> all = prompt;
  model.clear_text();
  for (int64_t i = 0; i < options.tokens; ++i) {
    std::vector<float> logits = model.extend_text(next);
    if (options.vocabulary > 0) logits.resize(std::min(logits.size(), static_cast<size_t>(options.vocabulary)));
    penalize_repetition(logits, all, options.repetition_penalty);
    const int32_t token = sample_token(logits, options, random);
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end() || !emit(token)) return;
    text.push_back(token);
    all.push_back(token);
    next = {token};
    if (static_cast<int64_t>(text.size()) > room) {
      text = next = tail(text, std::max<int64_t>(1, room / 2));
      model.clear_text();
    }
  }
}

}  // namespace galleon
