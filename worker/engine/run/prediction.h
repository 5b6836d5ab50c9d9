// A roofline of a training step: how long a card would take at its peak rates for the operations that the plan counts,
// each at the slower of its multiplications and its memory traffic.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/run/engine.h"

namespace galleon {

// Rates of a card, dense and without boosts beyond its data sheet.
struct CardRates {
  std::string name;
  double bf16_flops = 0;  // a second, on tensor cores with fp32 sums
  double fp32_flops = 0;  // without tensor cores: fp32 is never tf32 here
  double fp64_flops = 0;
  double bytes = 0;       // of its memory
  double link_bytes = 0;  // to another card, one way
  std::string source;
};

// NOT_FOUND names the cards that are known.
absl::StatusOr<CardRates> card_rates(absl::string_view name);
std::vector<std::string> known_cards();

double seconds_of(const CardRates& card, const Work& work);

struct StepPrediction {
  double products = 0;
  double attention = 0;
  double memory_bound = 0;
  double optimizer = 0;
  double refresh = 0;  // what refreshes add, spread over their interval
  double wire = 0;     // as if nothing were computed meanwhile
  double step() const { return products + attention + memory_bound + optimizer + refresh + wire; }
};

// Of the slowest of so many ranks.
absl::StatusOr<StepPrediction> predict_step(const EngineShape& shape, const CardRates& card, int ranks);

}  // namespace galleon
