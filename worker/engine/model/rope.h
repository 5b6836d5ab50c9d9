// Rotary positions (Su et al. 2021) beyond the length that a model was first trained with.
#pragma once

#include <cstdint>
#include <vector>

namespace galleon {

enum class RopeType { kDefault, kLinear, kDynamic, kLlama3, kYarn };

// As `rope_scaling` of a config.json describes it.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1;
  int64_t original_positions = 0;   // that the model was first trained with (kLlama3, kYarn)
  double low_frequency_factor = 1;  // kLlama3
  double high_frequency_factor = 4;
  double beta_fast = 32;  // kYarn
  double beta_slow = 1;
  double attention_factor = 0;  // kYarn; 0: from the factor
  double mscale = 0;            // kYarn; 0: not given
  double mscale_all_dimensions = 0;
  bool truncate = true;  // kYarn: the ramp's ends are whole numbers

  bool operator==(const RopeScaling&) const = default;
};

struct RopeFrequencies {
  std::vector<double> values;  // dimension/2: radians that a pair turns from one position to the next
  double factor = 1;           // on cosines and sines
};

// For sequences of `length`, which only kDynamic looks at; `max_positions`: those of the config.
//   kLinear   frequencies / factor (Chen et al. 2023)
//   kDynamic  beyond max_positions, theta grows with the length (NTK-aware interpolation; Peng et al. 2023, §3.3)
//   kLlama3   long waves / factor, short ones as they are, a ramp between (Llama 3.1, Grattafiori et al. 2024)
//   kYarn     the same by turns within the original length, and a factor on attention (Peng et al. 2023, §3.2 and §3.4)
RopeFrequencies rope_frequencies(const RopeScaling& scaling, double theta, int64_t dimension, int64_t max_positions,
                                 int64_t length);

}  // namespace galleon
