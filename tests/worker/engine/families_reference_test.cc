// Every family against Hugging Face transformers in double precision (tests/fixtures/make_families.py).
#include "tests/worker/engine/dense_sink.h"
#include "tests/worker/engine/reference_support.h"
#include "worker/engine/model/model.h"

namespace galleon {
namespace {

// fp32 against double precision through two blocks. transformers itself computes rotary angles and the norms of
// decoders in fp32.
constexpr double kTolerance = 2e-5;

struct Case {
  const char* family;
  bool transposed;  // linear layers stored in×out
  Activations kept = Activations::kAll;
};

class FamiliesReference : public testing::TestWithParam<Case> {
 protected:
  FamiliesReference()
      : reference_(open_fixture(std::string("family_") + GetParam().family)),
        device_(make_cpu_device(2)),
        arena_(*device_) {
    absl::StatusOr<ModelConfig> config = model_config_from_json(reference_.metadata().at("config"), "fixture", {});
    GALLEON_CHECK(config.ok()) << config.status().ToString();
    config_ = *config;
    // A projection on the left stores matrices transposed; nothing else of it is used here.
    GaloreOptions orientation;
    orientation.rank = 4;
    orientation.side = GetParam().transposed ? ProjectionSide::kLeft : ProjectionSide::kRight;
    parameters_ = model_parameters(config_, orientation);
    allocate_weights(parameters_, {}, arena_);
    const std::vector<int64_t>& shape = reference_.entries().at("ids").shape;
    model_ = make_model(config_, parameters_, shape[0], shape[1], GetParam().kept, arena_);
    for (const Parameter& p : parameters_) set_weight(p, *device_, fixture(reference_, p.name).data());
  }

  // Loss, then every gradient; what transformers has and we do not would be left over.
  void expect_gradients(const Batch& batch) {
    const double loss = std::stod(reference_.metadata().at("loss_sum"));
    const float scale = 1.0F / std::stof(reference_.metadata().at("counted"));
    EXPECT_NEAR(model_->forward_loss(batch), loss, kTolerance * loss);
    DenseSink sink(parameters_, *device_);
    EXPECT_NEAR(model_->forward_backward(batch, scale, sink, {}), loss, kTolerance * loss);
    size_t gradients = 0;
    for (const auto& [name, entry] : reference_.entries()) gradients += name.starts_with("gradient.") ? 1 : 0;
    EXPECT_EQ(parameters_.size(), gradients);
    int64_t numbers = 0;
    for (const Parameter& p : parameters_) {
      const std::vector<float> expected = fixture(reference_, "gradient." + p.name);
      const std::vector<float> actual = sink.gradient(p.index, *device_);
      double norm = 0;
      for (const float g : expected) norm += static_cast<double>(g) * g;
      if (std::sqrt(norm) < 1e-9) {  // the bias of keys shifts all scores of a query alike, which changes nothing
        for (const float g : actual) EXPECT_NEAR(g, 0, 1e-6) << p.name;
      } else {
        EXPECT_LT(relative_difference(actual, expected), kTolerance) << p.name;
      }
      EXPECT_EQ(sink.times_finished(p.index), 1) << p.name;
      numbers += p.out * p.in;
    }
    EXPECT_EQ(numbers, config_.parameters());
  }

  SafetensorsReader reference_;
  std::unique_ptr<Device> device_;
  Arena arena_;
  ModelConfig config_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Model> model_;
};

TEST_P(FamiliesReference, LogitsLossAndEveryGradientAreThoseOfTransformers) {
  ASSERT_TRUE(arena_.status().ok());
  if (config_.encoder()) {
    GTEST_SKIP();
    return;
  }
  const Batch batch = batch_fixture(reference_);
  expect_gradients(batch);
  const std::vector<float> logits = fixture(reference_, "logits");
  // Frequencies of dynamic scaling depend on the length of the whole sequence, so only its last logits compare.
  const int64_t first = config_.rope.type == RopeType::kDynamic ? batch.length : 1;
  for (int64_t length = first; length <= batch.length; ++length) {
    const std::vector<float> next = model_->next_logits({batch.ids.begin(), batch.ids.begin() + length});
    const auto at = logits.begin() + (length - 1) * config_.vocabulary;
    EXPECT_LT(relative_difference(next, {at, at + config_.vocabulary}), kTolerance) << length;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* family : {"mistral", "qwen2", "qwen3", "llama_biases", "llama_linear", "llama_dynamic",
                             "llama_llama3", "llama_yarn", "bert", "roberta"}) {
    cases.push_back({family, false});
    cases.push_back({family, true});
    cases.push_back({family, false, Activations::kBlockInputs});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, FamiliesReference, testing::ValuesIn(all_cases()), [](const auto& test) {
  return std::string(test.param.family) + (test.param.transposed ? "_transposed" : "") +
         (test.param.kept == Activations::kBlockInputs ? "_recomputed" : "");
});

}  // namespace
}  // namespace galleon
