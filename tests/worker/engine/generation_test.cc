// Drawing tokens, and texts that grow until a model's positions are used up.
#include "worker/engine/run/generation.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/test_device.h"
#include "worker/engine/model/model_parameters.h"

namespace galleon {
namespace {

// A fixture's decoder that can make text.
class Generation : public testing::TestWithParam<const char*> {
 protected:
  void use(const std::string& family, int64_t room) {
    reference_.emplace(open_fixture("family_" + family));
    absl::StatusOr<ModelConfig> config = model_config_from_json(reference_->metadata().at("config"), "fixture", {});
    ASSERT_TRUE(config.ok()) << config.status();
    parameters_ = model_parameters(*config, std::nullopt);
    allocate_weights(parameters_, {}, arena_);
    model_ = make_model(*config, parameters_, 1, room, Activations::kText, arena_);
    ASSERT_TRUE(arena_.status().ok());
    for (const Parameter& p : parameters_) set_weight(p, *device_, fixture(*reference_, p.name).data());
  }
  std::vector<int32_t> generated(const std::vector<int32_t>& prompt, const GenerationOptions& options) {
    std::vector<int32_t> tokens;
    generate_tokens(*model_, prompt, options, [&](int32_t token) {
      tokens.push_back(token);
      return true;
    });
    return tokens;
  }

  std::unique_ptr<Device> device_ = make_test_device(1);
  Arena arena_{*device_};
  std::optional<SafetensorsReader> reference_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Model> model_;
};

TEST_P(Generation, TheMostProbableTextIsThatOfTransformers) {
  use(GetParam(), 24);
  const std::vector<int32_t> expected = integer_fixture(*reference_, "greedy");
  GenerationOptions options;
  options.temperature = 0;
  options.tokens = 20;
  std::vector<int32_t> text(expected.begin(), expected.begin() + 4);
  const std::vector<int32_t> tokens = generated(text, options);
  text.insert(text.end(), tokens.begin(), tokens.end());
  EXPECT_EQ(text, expected);
}

INSTANTIATE_TEST_SUITE_P(Families, Generation,
                         testing::Values("mistral", "qwen2", "qwen3", "llama_biases", "llama_linear", "llama_dynamic",
                                         "llama_llama3", "llama_yarn"),
                         [](const auto& test) { return std::string(test.param); });

using GenerationLimits = Generation;

TEST_F(GenerationLimits, ASeedDecidesTheTextAndTheCallerItsEnd) {
  use("qwen2", 24);
  GenerationOptions options;
  options.temperature = 1.5;
  options.top_p = 1;
  options.tokens = 20;
  const std::vector<int32_t> first = generated({1, 2, 3}, options);
  EXPECT_EQ(first.size(), 20U);
  EXPECT_EQ(generated({1, 2, 3}, options), first);
  options.seed = 43;
  EXPECT_NE(generated({1, 2, 3}, options), first);
  options.seed = 42;
  options.stop = {first[7]};
  const auto end = std::find(first.begin(), first.end(), first[7]);
  EXPECT_EQ(generated({1, 2, 3}, options), std::vector<int32_t>(first.begin(), end)) << "up to a token that stops";
  options.stop.clear();
  std::vector<int32_t> taken;
  generate_tokens(*model_, {1, 2, 3}, options, [&](int32_t token) {
    taken.push_back(token);
    return taken.size() < 5;
  });
  EXPECT_EQ(taken.size(), 5U);
  options.vocabulary = 5;
  for (const int32_t token : generated({1, 2, 3}, options)) EXPECT_LT(token, 5);
  options.tokens = 0;
  EXPECT_TRUE(generated({1, 2, 3}, options).empty());
}

TEST_F(GenerationLimits, ATextLongerThanThePositionsGoesOnFromItsNewerHalf) {
  use("qwen3", 8);
  GenerationOptions options;
  options.temperature = 0;
  options.tokens = 6;
  const std::vector<int32_t> prompt{5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  const std::vector<int32_t> tokens = generated(prompt, options);
  // The last eight of the prompt, and then four of text at a time.
  std::vector<int32_t> text(prompt.begin() + 2, prompt.end());
  for (const int32_t token : tokens) {
    const std::vector<float> logits = model_->next_logits(text);
    EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
    text.push_back(token);
    if (text.size() > 8) text.erase(text.begin(), text.end() - 4);
  }
  EXPECT_EQ(tokens.size(), 6U);
}

TEST(SampleToken, DrawsFollowTheTemperedProbabilitiesOfTheNucleus) {
  // Probabilities 0.4, 0.3, 0.2, 0.1 in an order that is not theirs.
  const std::vector<float> logits{std::log(0.2F), std::log(0.4F), std::log(0.1F), std::log(0.3F)};
  struct Case {
    double temperature;
    double top_p;
    int64_t top_k;
    std::vector<double> expected;
  };
  const double squares = 0.04 + 0.16 + 0.01 + 0.09;
  const Case cases[] = {
      {1, 1, 0, {0.2, 0.4, 0.1, 0.3}},
      {1, 0.65, 0, {0, 4.0 / 7, 0, 3.0 / 7}},
      {1, 0.75, 4, {2.0 / 9, 4.0 / 9, 0, 3.0 / 9}},
      {0.5, 1, 9, {0.04 / squares, 0.16 / squares, 0.01 / squares, 0.09 / squares}},
      {1, 0, 0, {0, 1, 0, 0}},
      {0, 1, 0, {0, 1, 0, 0}},
      {1, 1, 1, {0, 1, 0, 0}},
      {1, 1, 3, {2.0 / 9, 4.0 / 9, 0, 3.0 / 9}},
      // 0.65 of the three's 0.9 is more than 0.4, and less than 0.7.
      {1, 0.65, 3, {0, 4.0 / 7, 0, 3.0 / 7}},
      // Of the two's 0.7 the first alone has 0.57.
      {1, 0.57, 2, {0, 1, 0, 0}},
  };
  constexpr int kDraws = 20000;
  for (const Case& c : cases) {
    std::mt19937_64 random(7);
    std::vector<int> counts(4);
    for (int i = 0; i < kDraws; ++i) ++counts[sample_token(logits, {c.temperature, c.top_k, c.top_p}, random)];
    for (int t = 0; t < 4; ++t) {
      // Five standard deviations of a frequency: √(p(1 − p) / draws) ≤ 0.0036.
      EXPECT_NEAR(counts[t] / static_cast<double>(kDraws), c.expected[t], 0.018)
          << c.temperature << " " << c.top_p << " " << c.top_k;
      if (c.expected[t] == 0) {
        EXPECT_EQ(counts[t], 0);
      }
    }
  }
}

TEST(SampleToken, AVocabularyOfManyEqualTokensIsDrawnFromEvenly) {
  const std::vector<float> logits(3000, 1.0F);
  std::mt19937_64 random(7);
  std::vector<int> counts(30);
  for (int i = 0; i < 3000; ++i) ++counts[sample_token(logits, {1, 0, 0.999}, random) / 100];
  // 100 expected, with a standard deviation of 10.
  for (const int count : counts) EXPECT_NEAR(count, 100, 50);
}

TEST(PenalizeRepetition, MovesTokensOfTheTextDownEachOnce) {
  std::vector<float> logits{2, -2, 4, 0.5F};
  penalize_repetition(logits, {0, 1, 0, 7, -1}, 2);
  EXPECT_EQ(logits, (std::vector<float>{1, -4, 4, 0.5F}));
  penalize_repetition(logits, {0, 1}, 1);
  EXPECT_EQ(logits, (std::vector<float>{1, -4, 4, 0.5F}));
}

}  // namespace
}  // namespace galleon
