// Every family on two ranks, with everything sharded, against one rank.
#include "tests/worker/engine/ranks/with_ranks.h"
#include "worker/engine/run/engine.h"

namespace galleon {
namespace {

constexpr int64_t kSequences = 4;
constexpr int64_t kLength = 10;
constexpr int kSteps = 5;

ModelConfig family(const std::string& name) {
  const std::string rest = name == "bert" || name == "roberta"
                               ? R"("max_position_embeddings":16,"num_labels":3,"hidden_dropout_prob":0.1)"
                               : R"("num_key_value_heads":2)";
  absl::StatusOr<ModelConfig> config = model_config_from_json(
      absl::StrCat("{\"model_type\":\"", name, "\",", rest,
                   R"(,"vocab_size":29,"hidden_size":16,"intermediate_size":20,"num_hidden_layers":3,)",
                   R"("num_attention_heads":4})"),
      name, {{"initializer_range", "0.1"}});
  GALLEON_CHECK(config.ok()) << config.status().ToString();
  return *config;
}

// The sequences [first, first + count) of a step.
Batch batch_of(const ModelConfig& config, int step, int64_t first, int64_t count) {
  Batch batch;
  batch.sequences = count;
  batch.length = kLength;
  for (int64_t s = first; s < first + count; ++s) {
    for (int64_t t = 0; t < kLength; ++t) {
      batch.ids.push_back(static_cast<int32_t>((step * 5 + s * 7 + t * 3) % 26));
      if (!config.encoder()) batch.targets.push_back(static_cast<int32_t>((step * 5 + s * 7 + t * 3 + 3) % 26));
    }
    if (!config.encoder()) continue;
    batch.labels.push_back(static_cast<float>(s % 3));
    batch.lengths.push_back(static_cast<int32_t>(kLength - s));
  }
  return batch;
}

std::vector<double> losses_of(const ModelConfig& config, int zero, Device& device, Communicator& communicator) {
  const int ranks = communicator.ranks();
  EngineShape shape;
  shape.config = config;
  shape.optimizer.learning_rate = 0.01;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = kSteps;
  shape.optimizer.zero = zero;
  shape.sequence_length = kLength;
  shape.micro_batch = kSequences / ranks;
  shape.micro_batches = 1;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::create(shape, device, communicator);
  GALLEON_CHECK(engine.ok()) << engine.status().ToString();
  initialize_weights((*engine)->parameters(), device, 7, config.initializer_range);
  std::vector<double> losses;
  for (int step = 1; step <= kSteps; ++step) {
    const Batch batch = batch_of(config, step, communicator.rank() * shape.micro_batch, shape.micro_batch);
    std::vector<double> sum{(*engine)->step(step, {batch}, 0.1F).loss};
    communicator.all_reduce_host(sum);
    losses.push_back(sum[0]);
  }
  EXPECT_TRUE(communicator.status().ok()) << communicator.status();
  return losses;
}

class FamiliesRanks : public testing::TestWithParam<const char*> {};

TEST_P(FamiliesRanks, ShardedInEveryWayTheyComputeWhatOneRankDoes) {
  const ModelConfig config = family(GetParam());
  const std::unique_ptr<Device> device = make_cpu_device(1);
  const std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  const std::vector<double> expected = losses_of(config, 1, *device, *alone);
  for (const int zero : {1, 3}) {
    std::vector<std::vector<double>> found(2);
    with_ranks(2, [&](Rank& self) {
      found[self.communicator.rank()] = losses_of(config, zero, self.device, self.communicator);
    });
    EXPECT_EQ(found[0], found[1]);
    ASSERT_EQ(found[0].size(), expected.size());
    // fp32 sums in another order, through five steps of Adam.
    for (int i = 0; i < kSteps; ++i) EXPECT_NEAR(found[0][i], expected[i], 2e-5 * expected[i]) << zero << " " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesRanks, testing::Values("llama", "qwen2", "qwen3", "bert", "roberta"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace galleon
