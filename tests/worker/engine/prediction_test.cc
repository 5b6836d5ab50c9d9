// What is predicted of a step on a card.
#include "worker/engine/run/prediction.h"

#include <gmock/gmock.h>

#include <numeric>

namespace galleon {
namespace {

using testing::HasSubstr;

EngineShape shape_of(int64_t rank) {
  EngineShape shape;
  shape.config = *model_preset("llama-60m");
  shape.config.vocabulary = 32000;
  shape.sequence_length = 256;
  shape.micro_batch = 16;
  shape.micro_batches = 1;
  shape.weights.type = DataType::kBFloat16;
  shape.optimizer.schedule.steps = 1;
  if (rank > 0) {
    shape.optimizer.galore = GaloreOptions{};
    shape.optimizer.galore->rank = rank;
    shape.optimizer.galore->refresh_interval = 20;
  }
  return shape;
}

// Multiplies for nothing, or moves memory for nothing.
CardRates only(double CardRates::*rate, double value) {
  CardRates card{"card", 1e30, 1e30, 1e30, 1e30, 1e30, ""};
  card.*rate = value;
  return card;
}

TEST(Prediction, AnOperationTakesTheLongerOfItsMultiplicationsAndItsMemory) {
  const CardRates card{"card", 100, 10, 1, 1000, 1, ""};
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kProduct, DataType::kBFloat16, 500, 100}), 5);
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kProduct, DataType::kFloat32, 500, 100}), 50);
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kAttention, DataType::kBFloat16, 500, 100}), 5);
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kBasis, DataType::kFloat32, 500, 100}), 500);
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kMemory, DataType::kFloat32, 5, 4000}), 4);
  EXPECT_DOUBLE_EQ(seconds_of(card, {WorkKind::kOptimizer, DataType::kFloat32, 50, 1000}), 5);
}

TEST(Prediction, ProductsAndAttentionAreTheModelsOwnFlops) {
  const EngineShape shape = shape_of(0);
  const absl::StatusOr<StepPrediction> step = predict_step(shape, only(&CardRates::bf16_flops, 1e12), 1);
  ASSERT_TRUE(step.ok()) << step.status();
  const double model = shape.config.train_flops_per_token(256) * 16 * 256 / 1e12;
  // The model's own count takes all keys, or half of them, of a query.
  EXPECT_NEAR(step->products + step->attention, model, 0.1 * model);
  EXPECT_GT(step->products, 5 * step->attention);
  EXPECT_LT(step->memory_bound + step->optimizer + step->wire + step->refresh, 1e-9);
}

TEST(Prediction, OfOneRankNothingIsSentAndOnlyProjectionHasRefreshes) {
  const CardRates card = *card_rates("h100");
  const StepPrediction full = *predict_step(shape_of(0), card, 1);
  const StepPrediction projected = *predict_step(shape_of(128), card, 1);
  const StepPrediction two = *predict_step(shape_of(128), card, 2);
  EXPECT_EQ(full.wire, 0);
  EXPECT_EQ(full.refresh, 0);
  EXPECT_GT(projected.refresh, 0);
  EXPECT_GT(two.wire, 0);
  EXPECT_LT(projected.optimizer, full.optimizer) << "moments of a subspace are fewer";
  EXPECT_DOUBLE_EQ(full.step(), full.products + full.attention + full.memory_bound + full.optimizer);
}

TEST(Prediction, StaggeredRefreshesCostAsMuchAsThoseOfOneStep) {
  const CardRates card = *card_rates("h100");
  EngineShape staggered = shape_of(128);
  EngineShape together = staggered;
  together.optimizer.galore->stagger = false;
  const StepPrediction one = *predict_step(staggered, card, 1);
  const StepPrediction other = *predict_step(together, card, 1);
  EXPECT_DOUBLE_EQ(one.products, other.products);
  EXPECT_NEAR(one.refresh, other.refresh, 0.1 * other.refresh);
}

TEST(Prediction, AFasterMemoryShortensWhatMemoryBounds) {
  const StepPrediction h100 = *predict_step(shape_of(128), *card_rates("h100"), 1);
  const StepPrediction h200 = *predict_step(shape_of(128), *card_rates("h200"), 1);
  EXPECT_NEAR(h200.memory_bound, h100.memory_bound * 3350 / 4800, 1e-3 * h100.memory_bound);
  EXPECT_LE(h200.products, h100.products);
}

TEST(Prediction, EveryCardHasRatesAndASourceAndOthersAreRefusedByName) {
  for (const std::string& name : known_cards()) {
    const CardRates card = *card_rates(name);
    EXPECT_GT(card.bf16_flops, card.fp32_flops) << name;
    EXPECT_GE(card.fp32_flops, card.fp64_flops) << name;
    EXPECT_GT(card.bytes, card.link_bytes) << name;
    EXPECT_THAT(card.source, HasSubstr("NVIDIA")) << name;
  }
  EXPECT_THAT(std::string(card_rates("h1000").status().message()), HasSubstr("\"h1000\"; known are a100, h100"));
}

}  // namespace
}  // namespace galleon
