// Published weights, where they are: ../shared/data/models/stories260K, and the encoder that tests/models.sh fetches.
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "tests/worker/engine/stories_tokenizer.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/model/encoder.h"
#include "worker/engine/model/model_parameters.h"
#include "worker/engine/run/generation.h"

namespace galleon {
namespace {

const std::string kStories = GALLEON_SOURCE_DIR "/../shared/data/models/stories260K";
const std::string kStoriesText = GALLEON_SOURCE_DIR "/../shared/data/lm/tinystories.txt";
const std::string kMiniLm = GALLEON_BINARY_DIR "/../tools/minilm";

#define SKIP_WITHOUT(path, what) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << (path) << ": " << (what)

class Stories : public testing::Test {
 protected:
  void load(int64_t batch, Activations activations) {
    golden_ = nlohmann::json::parse(std::ifstream(kStories + "/golden.json"));
    absl::StatusOr<ModelConfig> config = resolve_model_config(kStories, {}, 0);
    ASSERT_TRUE(config.ok()) << config.status();
    parameters_ = model_parameters(*config, std::nullopt);
    allocate_weights(parameters_, {}, arena_);
    model_ = make_model(*config, parameters_, batch, config->max_positions, activations, arena_);
    const absl::Status loaded = load_weights(kStories, parameters_, *device_);
    ASSERT_TRUE(loaded.ok()) << loaded;
  }
  std::string tokenizer_file() {
    return folder_.write("tok512.model", sentencepiece_model_of(*read_file(kStories + "/tok512.bin")));
  }

  TestFolder folder_;
  std::unique_ptr<Device> device_ = make_cpu_device(2);
  Arena arena_{*device_};
  nlohmann::json golden_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Model> model_;
};

TEST_F(Stories, LogitsAreTheGoldenOnes) {
  SKIP_WITHOUT(kStories, "the model stories260K beside the project");
  load(1, Activations::kNone);
  const auto expected = golden_["logits_last"].get<std::vector<float>>();
  const std::vector<float> logits = model_->next_logits(golden_["input_ids"].get<std::vector<int32_t>>());
  // fp32 through five blocks against double precision.
  EXPECT_LT(relative_difference(logits, expected), 1e-5);
}

TEST_F(Stories, TheMostProbableTextIsTheGoldenOne) {
  SKIP_WITHOUT(kStories, "the model stories260K beside the project");
  load(1, Activations::kText);
  const auto expected = golden_["greedy_100_ids"].get<std::vector<int32_t>>();
  GenerationOptions options;
  options.temperature = 0;
  options.tokens = static_cast<int64_t>(expected.size()) - 1;
  std::vector<int32_t> text{expected[0]};
  generate_tokens(*model_, {expected[0]}, options, [&](int32_t token) {
    text.push_back(token);
    return true;
  });
  EXPECT_EQ(text, expected);
}

TEST_F(Stories, SixtyStoriesCostTheGoldenNatsPerToken) {
  SKIP_WITHOUT(kStories, "the model stories260K beside the project");
  SKIP_WITHOUT(kStoriesText, "stories beside the project");
  load(1, Activations::kNone);
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(tokenizer_file());
  if (absl::IsUnavailable(tokenizer.status())) GTEST_SKIP() << tokenizer.status().message();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto means = golden_["first60_story_mean_nll"].get<std::vector<double>>();
  const std::string text = *read_file(kStoriesText);
  const std::vector<std::string> stories = absl::StrSplit(text, "<|endoftext|>");
  double nats = 0;
  int64_t tokens = 0;
  for (size_t s = 0; s < means.size(); ++s) {
    std::vector<int32_t> ids{(*tokenizer)->begin_token()};
    (*tokenizer)->encode(absl::StripAsciiWhitespace(stories[s]), ids);
    if (s == 0) {
      EXPECT_EQ(ids, golden_["story0_ids"].get<std::vector<int32_t>>());
    }
    ids.resize(std::min<size_t>(ids.size(), model_->sequence()));  // as the golden run cut them
    Batch batch;
    batch.sequences = 1;
    batch.length = static_cast<int64_t>(ids.size()) - 1;
    batch.ids.assign(ids.begin(), ids.begin() + batch.length);
    batch.targets.assign(ids.begin() + 1, ids.begin() + 1 + batch.length);
    const double loss = model_->forward_loss(batch);
    EXPECT_NEAR(loss / static_cast<double>(batch.length), means[s], 1e-5 * means[s]) << "story " << s;
    nats += loss;
    tokens += batch.length;
  }
  EXPECT_EQ(tokens, golden_["overall_tokens"].get<int64_t>());
  EXPECT_NEAR(nats / static_cast<double>(tokens), golden_["overall_nll"].get<double>(), 1e-5);
  EXPECT_NEAR(nats / static_cast<double>(tokens), 1.3552, 5e-5);
}

TEST_F(Stories, FineTuningOnNewTextLowersItsLoss) {
  SKIP_WITHOUT(kStories, "the model stories260K beside the project");
  RunOptions options = tiny_run(folder_);
  options.model.source = kStories;
  options.model.pretrained = true;
  options.tokenizer = tokenizer_file();
  options.optimizer.learning_rate = 0.003;
  options.steps = 40;
  options.data.sequence_length = 64;
  options.evaluate_every = 20;
  const RankOutcome outcome = run_one(options, folder_.path() + "/out");
  if (absl::IsUnavailable(outcome.result.status())) GTEST_SKIP() << outcome.result.status().message();
  ASSERT_TRUE(outcome.result.ok()) << outcome.result.status();
  ASSERT_EQ(outcome.observer.evaluations.size(), 2U);
  const double before = outcome.observer.lines.front().loss;
  EXPECT_LT(outcome.observer.evaluations[0].validation_loss, 0.6 * before);
  EXPECT_LT(outcome.observer.evaluations[1].validation_loss, outcome.observer.evaluations[0].validation_loss);
}

TEST(MiniLm, EmbeddingsAreThoseOfTransformers) {
  SKIP_WITHOUT(kMiniLm, "tests/models.sh fetches it");
  const SafetensorsReader reference = open_fixture("minilm_embeddings");
  absl::StatusOr<ModelConfig> config = resolve_model_config(kMiniLm, {}, 0);
  ASSERT_TRUE(config.ok()) << config.status();
  const std::unique_ptr<Device> device = make_cpu_device(2);
  Arena arena(*device);
  std::vector<Parameter> parameters = model_parameters(*config, std::nullopt);
  allocate_weights(parameters, {}, arena);
  std::vector<std::string> fresh;
  const absl::Status loaded = load_weights(kMiniLm, parameters, *device, &fresh);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_THAT(fresh, testing::ElementsAre("classifier.weight", "classifier.bias"));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(kMiniLm);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();

  Batch batch;
  const std::vector<std::string> sentences = absl::StrSplit(reference.metadata().at("sentences"), '\n');
  batch.sequences = static_cast<int64_t>(sentences.size());
  std::vector<std::vector<int32_t>> rows;
  for (const std::string& sentence : sentences) {
    std::vector<int32_t>& row = rows.emplace_back(1, (*tokenizer)->special().classify);
    (*tokenizer)->encode(sentence, row);
    row.push_back((*tokenizer)->special().separator);
    batch.length = std::max(batch.length, static_cast<int64_t>(row.size()));
    batch.lengths.push_back(static_cast<int32_t>(row.size()));
  }
  for (std::vector<int32_t>& row : rows) {
    row.resize(batch.length, 0);
    batch.ids.insert(batch.ids.end(), row.begin(), row.end());
  }
  Encoder model(*config, parameters, batch.sequences, batch.length, Activations::kNone, arena);
  ASSERT_TRUE(arena.status().ok());
  const std::vector<float> hidden = model.hidden_states(batch);
  // The mean over a sentence's tokens, of length 1.
  const int64_t width = config->hidden;
  const std::vector<float> expected = fixture(reference, "embeddings");
  for (int64_t s = 0; s < batch.sequences; ++s) {
    std::vector<double> mean(width);
    for (int64_t t = 0; t < batch.lengths[s]; ++t) {
      for (int64_t i = 0; i < width; ++i) mean[i] += hidden[(s * batch.length + t) * width + i];
    }
    double squares = 0;
    for (const double m : mean) squares += m * m;
    for (int64_t i = 0; i < width; ++i)
      EXPECT_NEAR(mean[i] / std::sqrt(squares), expected[s * width + i], 5e-5) << sentences[s] << " " << i;
  }
}

}  // namespace
}  // namespace galleon
