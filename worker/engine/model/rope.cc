#include "worker/engine/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace galleon {

namespace {

// Llama 3.1: the share of the unscaled frequency grows from 0 to 1 as a wave gets shorter.
double llama3_frequency(const RopeScaling& s, double frequency) {
  const double turns = static_cast<double>(s.original_positions) * frequency / (2 * std::numbers::pi);
  if (turns < s.low_frequency_factor) return frequency / s.factor;
  if (turns > s.high_frequency_factor) return frequency;
  const double kept = (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
  return (1 - kept) * frequency / s.factor + kept * frequency;
}

// Where in the list of frequencies a pair makes so many turns within the original length (Peng et al. 2023, eq. 17).
double yarn_place(double turns, double theta, int64_t dimension, int64_t original_positions) {
  return static_cast<double>(dimension) *
         std::log(static_cast<double>(original_positions) / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

double yarn_temperature(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

void apply_yarn(const RopeScaling& s, double theta, int64_t dimension, RopeFrequencies& f) {
  double low = yarn_place(s.beta_fast, theta, dimension, s.original_positions);
  double high = yarn_place(s.beta_slow, theta, dimension, s.original_positions);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dimension - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < f.values.size(); ++i) {
    const double scaled = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f.values[i] = f.values[i] / s.factor * scaled + f.values[i] * (1 - scaled);
  }
  if (s.attention_factor > 0) {
    f.factor = s.attention_factor;
  } else if (s.mscale > 0 && s.mscale_all_dimensions > 0) {
    f.factor = yarn_temperature(s.factor, s.mscale) / yarn_temperature(s.factor, s.mscale_all_dimensions);
  } else {
    f.factor = yarn_temperature(s.factor, 1.0);
  }
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeScaling& s, double theta, int64_t dimension, int64_t max_positions,
                                 int64_t length) {
  const auto d = static_cast<double>(dimension);
  if (s.type == RopeType::kDynamic && length > max_positions && dimension > 2) {
    const double longer = s.factor * static_cast<double>(length) / static_cast<double>(max_positions) - (s.factor - 1);
    theta *= std::pow(longer, d / (d - 2));
  }
  RopeFrequencies f;
  f.values.resize(dimension / 2);
  for (size_t i = 0; i < f.values.size(); ++i) {
    f.values[i] = std::pow(theta, -2.0 * static_cast<double>(i) / d);
    if (s.type == RopeType::kLinear) f.values[i] /= s.factor;
    if (s.type == RopeType::kLlama3) f.values[i] = llama3_frequency(s, f.values[i]);
  }
  if (s.type == RopeType::kYarn) apply_yarn(s, theta, dimension, f);
  return f;
}

}  // namespace galleon
