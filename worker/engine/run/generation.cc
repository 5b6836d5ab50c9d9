#include "worker/engine/run/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/check.h"

namespace galleon {

int32_t sample_token(const std::vector<float>& logits, double temperature, double top_p, std::mt19937_64& random) {
  const auto largest = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (temperature <= 0) return largest;
  std::vector<double> mass(logits.size());
  double total = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    total += mass[i] = std::exp((static_cast<double>(logits[i]) - logits[largest]) / temperature);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](int32_t a, int32_t b) { return mass[a] > mass[b] || (mass[a] == mass[b] && a < b); };
  // Most of the mass lies on few tokens: more and more of them are sorted, until it is enough.
  size_t sorted = 0;
  size_t kept = 0;
  double cumulative = 0;
  while (kept < order.size() && (kept == 0 || cumulative < top_p * total)) {
    if (kept == sorted) {
      sorted = std::min(order.size(), std::max<size_t>(64, 4 * sorted));
      std::partial_sort(order.begin() + static_cast<int64_t>(kept), order.begin() + static_cast<int64_t>(sorted),
                        order.end(), before);
    }
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
  model.clear_text();
  for (int64_t i = 0; i < options.tokens; ++i) {
    std::vector<float> logits = model.extend_text(next);
    if (options.vocabulary > 0) logits.resize(std::min(logits.size(), static_cast<size_t>(options.vocabulary)));
    const int32_t token = sample_token(logits, options.temperature, options.top_p, random);
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end() || !emit(token)) return;
    text.push_back(token);
    next = {token};
    if (static_cast<int64_t>(text.size()) > room) {
      text = next = tail(text, std::max<int64_t>(1, room / 2));
      model.clear_text();
    }
  }
}

}  // namespace galleon
