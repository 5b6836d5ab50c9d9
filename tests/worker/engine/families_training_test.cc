// Engines over every family: what they hold is what the plan says, recomputation changes no bit, both types of weights
// and every way to train go down.
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "worker/engine/model/lora.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/run/engine.h"

namespace galleon {
namespace {

constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 12;

struct Way {
  const char* name;
  std::optional<GaloreOptions> galore;
  std::optional<LoraOptions> lora;
};

std::vector<Way> all_ways() {
  GaloreOptions galore;
  galore.rank = 4;
  galore.refresh_interval = 3;
  galore.scale = 1;
  LoraOptions lora;
  lora.rank = 3;
  lora.dropout = 0.1;
  lora.train_rest = false;
  return {{"full", std::nullopt, std::nullopt}, {"galore", galore, std::nullopt}, {"lora", std::nullopt, lora}};
}

ModelConfig family(const std::string& name, int64_t layers) {
  const std::string sizes = absl::StrCat(
      R"("vocab_size":29,"hidden_size":16,"intermediate_size":20,"num_attention_heads":4,"num_hidden_layers":)",
      layers);
  std::string rest;
  if (name == "mistral") rest = R"(,"num_key_value_heads":2,"sliding_window":5)";
  if (name == "qwen2") rest = R"(,"num_key_value_heads":2,"tie_word_embeddings":true)";
  if (name == "qwen3")
    rest =
        R"(,"num_key_value_heads":1,"head_dim":6,"use_sliding_window":true,"sliding_window":4,"max_window_layers":1)";
  if (name == "llama")
    rest =
        R"(,"attention_bias":true,"mlp_bias":true,"rope_scaling":{"type":"dynamic","factor":2.0},"max_position_embeddings":8)";
  if (name == "bert") rest = R"(,"max_position_embeddings":16,"num_labels":3)";
  if (name == "roberta") rest = R"(,"max_position_embeddings":16,"num_labels":1,"type_vocab_size":1)";
  absl::StatusOr<ModelConfig> config =
      model_config_from_json(absl::StrCat("{\"model_type\":\"", name, "\",", sizes, rest, "}"), name, {});
  GALLEON_CHECK(config.ok()) << config.status().ToString();
  return *config;
}

EngineShape shape_of(const ModelConfig& config, const Way& way, DataType type, bool recompute) {
  EngineShape shape;
  shape.config = config;
  shape.optimizer.learning_rate = 0.01;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 100;
  shape.optimizer.galore = way.galore;
  shape.optimizer.lora = way.lora;
  shape.sequence_length = kLength;
  shape.micro_batch = kSequences;
  shape.micro_batches = 2;
  shape.recompute = recompute;
  shape.weights.type = type;
  return shape;
}

// Sequences whose targets, or labels, follow from their tokens.
Batch batch_of(const ModelConfig& config, std::mt19937_64& random) {
  Batch batch;
  batch.sequences = kSequences;
  batch.length = kLength;
  for (int64_t s = 0; s < kSequences; ++s) {
    int32_t token = static_cast<int32_t>(random() % 26);
    if (config.encoder()) {
      batch.labels.push_back(static_cast<float>(token % config.labels + (config.regression() ? token % 3 : 0)));
      batch.lengths.push_back(static_cast<int32_t>(kLength - random() % 4));
    }
    for (int64_t t = 0; t < kLength; ++t) {
      batch.ids.push_back(token);
      if (!config.encoder()) {
        token = (token * 3 + 1) % 26;
        batch.targets.push_back(token);
      }
    }
  }
  return batch;
}

struct Outcome {
  std::vector<double> losses;
  uint64_t weights = 0;
  int64_t by_category[kMemoryCategories] = {};
  int64_t peak = 0;
};

Outcome train(const EngineShape& shape, int steps) {
  Outcome outcome;
  const std::unique_ptr<Device> device = make_cpu_device(2);
  const std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, *device, *alone);
  GALLEON_CHECK(engine.ok()) << engine.status().ToString();
  initialize_weights((*engine)->parameters(), *device, 7, 0.1);
  if (shape.optimizer.lora.has_value()) initialize_adapters((*engine)->parameters(), *device, 7);
  std::mt19937_64 random(3);
  const double count = static_cast<double>(2 * kSequences * (shape.config.encoder() ? 1 : kLength));
  for (int step = 1; step <= steps; ++step) {
    const Batch batches[2] = {batch_of(shape.config, random), batch_of(shape.config, random)};
    outcome.losses.push_back((*engine)->step(step, batches, static_cast<float>(1 / count)).loss / count);
  }
  outcome.weights = hash_weights((*engine)->parameters(), *device, (*engine)->weights());
  for (int i = 0; i < kMemoryCategories; ++i)
    outcome.by_category[i] = device->ledger().bytes(static_cast<MemoryCategory>(i));
  outcome.peak = device->ledger().peak();
  return outcome;
}

class FamiliesTraining : public testing::TestWithParam<const char*> {};

TEST_P(FamiliesTraining, ThePlanIsWhatARunHoldsAndRecomputationChangesNoBit) {
  const ModelConfig config = family(GetParam(), 4);
  for (const Way& way : all_ways()) {
    for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
      // Everything kept; every block's input; those of two blocks.
      Outcome outcomes[3];
      for (const int again : {0, 1, 2}) {
        EngineShape shape = shape_of(config, way, type, again > 0);
        if (again == 2) shape.kept_inputs = 2;
        const Outcome& outcome = outcomes[again] = train(shape, 4);
        absl::StatusOr<RankEstimate> plan = dry_run(shape, "cpu", 0, 1);
        ASSERT_TRUE(plan.ok()) << plan.status();
        for (int i = 0; i < kMemoryCategories; ++i)
          EXPECT_EQ(plan->by_category[i], outcome.by_category[i]) << way.name << " " << i;
        EXPECT_EQ(plan->peak_bytes, outcome.peak) << way.name;
      }
      for (const int again : {1, 2}) {
        EXPECT_EQ(outcomes[0].losses, outcomes[again].losses) << way.name << " " << type_name(type) << " " << again;
        EXPECT_EQ(outcomes[0].weights, outcomes[again].weights) << way.name << " " << type_name(type) << " " << again;
        constexpr int kActivations = static_cast<int>(MemoryCategory::kActivations);
        EXPECT_LT(outcomes[again].by_category[kActivations], outcomes[again - 1].by_category[kActivations]);
      }
    }
  }
}

TEST_P(FamiliesTraining, TheLossGoesDownInEveryWayAndInBothTypes) {
  const ModelConfig config = family(GetParam(), 3);
  for (const Way& way : all_ways()) {
    for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
      const Outcome outcome = train(shape_of(config, way, type, false), 60);
      double first = 0;
      double last = 0;
      for (int i = 0; i < 10; ++i) {
        first += outcome.losses[i] / 10;
        last += outcome.losses[50 + i] / 10;
      }
      EXPECT_LT(last, 0.9 * first) << way.name << " " << type_name(type);
    }
  }
}

TEST_P(FamiliesTraining, GaloreProjectsLinearLayersOfBlocksAndNothingElse) {
  const ModelConfig config = family(GetParam(), 3);
  GaloreOptions galore;
  galore.rank = 4;
  galore.target_attention = true;
  galore.target_mlp = false;
  int attention = 0;
  for (const Parameter& p : model_parameters(config, galore)) attention += p.rank > 0 ? 1 : 0;
  galore.target_attention = false;
  galore.target_mlp = true;
  int mlp = 0;
  for (const Parameter& p : model_parameters(config, galore)) mlp += p.rank > 0 ? 1 : 0;
  EXPECT_EQ(attention, 4 * config.layers);
  EXPECT_EQ(mlp, (config.encoder() ? 2 : 3) * config.layers);
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesTraining,
                         testing::Values("llama", "mistral", "qwen2", "qwen3", "bert", "roberta"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace galleon
