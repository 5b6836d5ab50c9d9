#include "worker/engine/run/prediction.h"

#include <algorithm>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;

// bf16 with fp32 sums, dense; fp32 and fp64 outside of tensor cores, fp64 with them where its libraries use them;
// memory; link one way (NVLink, or PCIe x16 where there is none).
const std::vector<CardRates>& cards() {
  static const std::vector<CardRates> all = {
      {"a100", 312 * kTera, 19.5 * kTera, 19.5 * kTera, 2039 * kGiga, 300 * kGiga, "NVIDIA A100 80GB SXM data sheet"},
      {"h100", 989 * kTera, 67 * kTera, 67 * kTera, 3350 * kGiga, 450 * kGiga, "NVIDIA H100 SXM data sheet"},
      {"h200", 989 * kTera, 67 * kTera, 67 * kTera, 4800 * kGiga, 450 * kGiga, "NVIDIA H200 SXM data sheet"},
      {"b200", 2250 * kTera, 75 * kTera, 37 * kTera, 7700 * kGiga, 900 * kGiga,
       "NVIDIA HGX B200 data sheet, an eighth"},
      {"l40s", 362 * kTera, 91.6 * kTera, 1.43 * kTera, 864 * kGiga, 32 * kGiga, "NVIDIA L40S data sheet"},
      {"3090", 71 * kTera, 35.6 * kTera, 0.56 * kTera, 936 * kGiga, 32 * kGiga, "NVIDIA GA102 white paper"},
      {"4090", 165.2 * kTera, 82.6 * kTera, 1.29 * kTera, 1008 * kGiga, 32 * kGiga, "NVIDIA Ada white paper"},
      {"5090", 209.5 * kTera, 104.8 * kTera, 1.64 * kTera, 1792 * kGiga, 64 * kGiga,
       "NVIDIA RTX Blackwell white paper"},
  };
  return all;
}

double total(const double (&seconds)[kWorkKinds]) {
  return std::accumulate(std::begin(seconds), std::end(seconds), 0.0);
}

}  // namespace

std::vector<std::string> known_cards() {
  std::vector<std::string> names;
  for (const CardRates& card : cards()) names.push_back(card.name);
  return names;
}

absl::StatusOr<CardRates> card_rates(absl::string_view name) {
  for (const CardRates& card : cards()) {
    if (card.name == name) return card;
  }
  return absl::NotFoundError(
      absl::StrCat("no rates are known of a card \"", name, "\"; known are ", absl::StrJoin(known_cards(), ", ")));
}

double seconds_of(const CardRates& card, const Work& work) {
  const double in_memory = work.bytes / card.bytes;
  double rate = card.fp32_flops;
  if (work.kind == WorkKind::kBasis) rate = card.fp64_flops;
  const bool multiplies = work.kind == WorkKind::kProduct || work.kind == WorkKind::kAttention;
  if (multiplies && work.numbers == DataType::kBFloat16) rate = card.bf16_flops;
  return std::max(in_memory, work.flops / rate);
}

absl::StatusOr<StepPrediction> predict_step(const EngineShape& shape, const CardRates& card, int ranks) {
  const WorkClock clock = [&](const Work& work) { return seconds_of(card, work); };
  // With all refreshes in one step there is a step without any, where staggered ones may leave none.
  EngineShape together = shape;
  if (together.optimizer.galore.has_value()) together.optimizer.galore->stagger = false;
  StepPrediction slowest;
  for (int rank = 0; rank < ranks; ++rank) {
    ASSIGN_OR_RETURN(const RankEstimate plain, dry_run(together, "cuda", rank, ranks, clock));
    ASSIGN_OR_RETURN(const RankEstimate estimate, dry_run(shape, "cuda", rank, ranks, clock));
    const auto of = [&](WorkKind kind) { return plain.step_seconds[static_cast<int>(kind)]; };
    const auto interval = static_cast<double>(estimate.interval);
    StepPrediction one;
    one.products = of(WorkKind::kProduct);
    one.attention = of(WorkKind::kAttention);
    one.memory_bound = of(WorkKind::kMemory);
    one.optimizer = of(WorkKind::kOptimizer);
    one.refresh = total(estimate.interval_seconds) / interval - total(plain.step_seconds) + of(WorkKind::kBasis);
    one.wire = static_cast<double>(estimate.sent_mean().total()) / card.link_bytes;
    if (one.step() > slowest.step()) slowest = one;
  }
  return slowest;
}

}  // namespace galleon
