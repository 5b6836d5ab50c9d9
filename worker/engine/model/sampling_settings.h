// How tokens are to be drawn from a model, as its folder's generation_config.json says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace galleon {

struct SamplingSettings {
  std::optional<double> temperature;  // 0: do_sample is false
  std::optional<double> top_p;
  std::optional<int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::string unread;  // fields that would change the text and are not read, as in "min_p and num_beams"; empty: none
};

// With do_sample: true, what is left out is as in transformers: a temperature and top_p of 1, and top_k 50.
// INVALID_ARGUMENT: the file is not JSON, or a value is none that can be.
// Source: https://huggingface.co/docs/transformers/main_classes/text_generation
absl::StatusOr<SamplingSettings> sampling_settings(const std::string& folder);

}  // namespace galleon
