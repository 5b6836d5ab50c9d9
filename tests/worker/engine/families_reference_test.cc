// Every family against Hugging Face transformers in double precision (tests/fixtures/make_families.py).
#include "tests/worker/engine/dense_sink.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/test_device.h"
#include "worker/engine/model/encoder.h"
#include "worker/engine/model/model_parameters.h"

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
        device_(make_test_device(2)),
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
    const Batch batch = labelled_batch_fixture(reference_);
    expect_gradients(batch);
    EXPECT_LT(relative_difference(model_->outputs(batch), fixture(reference_, "logits")), kTolerance);
    // Positions that are padding are different, and count for nothing.
    auto* encoder = dynamic_cast<Encoder*>(model_.get());
    ASSERT_NE(encoder, nullptr);
    std::vector<float> hidden = encoder->hidden_states(batch);
    std::vector<float> expected = fixture(reference_, "hidden");
    for (int64_t t = 0; t < batch.sequences * batch.length; ++t) {
      if (t % batch.length < batch.lengths[t / batch.length]) continue;
      std::fill_n(hidden.begin() + t * config_.hidden, config_.hidden, 0.0F);
      std::fill_n(expected.begin() + t * config_.hidden, config_.hidden, 0.0F);
    }
    EXPECT_LT(relative_difference(hidden, expected), kTolerance);
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

TEST_P(FamiliesReference, ATextThatGrowsTokenByTokenHasTheSameLogits) {
  if (config_.encoder() || GetParam().kept != Activations::kAll) return;
  const Batch batch = batch_fixture(reference_);
  const std::unique_ptr<Model> growing = make_model(config_, parameters_, 1, batch.length, Activations::kText, arena_);
  for (const int64_t first : {int64_t{1}, int64_t{6}}) {
    growing->clear_text();
    for (int64_t length = first; length <= batch.length; ++length) {
      const auto begin = batch.ids.begin() + (length == first ? 0 : length - 1);
      const std::vector<float> next = growing->extend_text({begin, batch.ids.begin() + length});
      const std::vector<float> whole = model_->next_logits({batch.ids.begin(), batch.ids.begin() + length});
      // Sums in another order.
      EXPECT_LT(relative_difference(next, whole), 1e-5) << length;
    }
  }
  growing->clear_text();
  growing->extend_text({batch.ids.begin(), batch.ids.begin() + 3});
  const std::vector<float> many = growing->extend_text({batch.ids.begin() + 3, batch.ids.begin() + 9});
  const std::vector<float> whole = model_->next_logits({batch.ids.begin(), batch.ids.begin() + 9});
  EXPECT_LT(relative_difference(many, whole), 1e-5);
  EXPECT_EQ(growing->next_logits({batch.ids.begin(), batch.ids.begin() + 9}), whole);
  EXPECT_LT(relative_difference(growing->extend_text({batch.ids[0]}), model_->next_logits({batch.ids[0]})), 1e-6)
      << "another pass has forgotten the text";
}

TEST_P(FamiliesReference, AClassifiersGradientsDoNotDependOnPadding) {
  if (!config_.encoder()) return;
  Batch padded = labelled_batch_fixture(reference_);
  padded.sequences = 2;
  padded.lengths = {9, 4};
  padded.ids.resize(2 * padded.length);
  padded.token_types.resize(2 * padded.length);
  padded.labels.resize(2);
  Batch cut = padded;
  cut.length = 9;
  cut.ids.clear();
  cut.token_types.clear();
  for (int64_t s = 0; s < 2; ++s) {
    const auto row = [&](const std::vector<int32_t>& from) { return from.begin() + s * padded.length; };
    cut.ids.insert(cut.ids.end(), row(padded.ids), row(padded.ids) + 9);
    cut.token_types.insert(cut.token_types.end(), row(padded.token_types), row(padded.token_types) + 9);
  }
  // With dropout, whose masks must not depend on it either.
  ModelConfig dropping = config_;
  dropping.hidden_dropout = dropping.attention_dropout = dropping.classifier_dropout = 0.2;
  const std::unique_ptr<Model> model = make_model(dropping, parameters_, 2, padded.length, GetParam().kept, arena_);
  DenseSink of_padded(parameters_, *device_);
  DenseSink of_cut(parameters_, *device_);
  const PassPlace place{3, 4 * padded.length};
  const auto work_of = [&](const Batch& batch, GradientSink& sink) {
    const double before = device_->work().flops;
    model->forward_backward(batch, 1.0F, sink, place);
    return device_->work().flops - before;
  };
  const double loss = model->forward_backward(padded, 1.0F, of_padded, place);
  EXPECT_NEAR(model->forward_backward(cut, 1.0F, of_cut, place), loss, kTolerance * loss);
  for (const Parameter& p : parameters_) {
    const std::vector<float> a = of_cut.gradient(p.index, *device_);
    const std::vector<float> b = of_padded.gradient(p.index, *device_);
    for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5) << p.name;
  }
  // 13 of 30 positions are of a sequence, and 15 rows are computed; attention is counted as if all were of the longest.
  Batch full = padded;
  full.lengths.clear();
  DenseSink ignored(parameters_, *device_);
  EXPECT_LT(work_of(padded, ignored), 0.75 * work_of(full, ignored)) << "padding was computed";
}

TEST_P(FamiliesReference, WithDropoutTheGradientIsThatOfTheLossUnderTheSameMasks) {
  if (!config_.encoder()) return;
  if (device_->kind() != "cpu") GTEST_SKIP() << "hundreds of passes, whose kernels other tests have run";
  const Batch batch = labelled_batch_fixture(reference_);
  ModelConfig dropping = config_;
  dropping.hidden_dropout = 0.2;
  dropping.attention_dropout = 0.3;
  dropping.classifier_dropout = 0.1;
  const std::unique_ptr<Model> model =
      make_model(dropping, parameters_, batch.sequences, batch.length, GetParam().kept, arena_);
  const PassPlace place{5, 6 * batch.length};
  auto loss_at = [&](const PassPlace& where) {
    DenseSink ignored(parameters_, *device_);
    return model->forward_backward(batch, 1.0F, ignored, where);
  };
  const double at_point = loss_at(place);
  EXPECT_EQ(loss_at(place), at_point) << "the masks of a place are always the same";
  EXPECT_NE(loss_at({6, place.first_token}), at_point) << "each step has its own";
  EXPECT_NE(loss_at({5, 0}), at_point) << "and each sequence of it";
  EXPECT_NE(loss_at({5, place.first_token, 43}), at_point);
  EXPECT_NE(model->forward_loss(batch), at_point) << "nothing is dropped in an evaluation";
  DenseSink sink(parameters_, *device_);
  model->forward_backward(batch, 1.0F, sink, place);
  for (const Parameter& p : parameters_) {
    const std::vector<float> gradient = sink.gradient(p.index, *device_);
    const std::vector<float> weight = get_weight(p, *device_);
    double squares = 0;
    for (const float g : gradient) squares += static_cast<double>(g) * g;
    if (squares < 1e-10) continue;  // the bias of keys, which changes nothing
    // A central difference along the gradient itself, with a step that moves the loss of a few nats by about 0.01: its
    // rounding (some 1e-6) and the loss's curvature leave some 1e-3 of that.
    const double h = 0.005 / squares;
    double moved[2];
    for (const int side : {0, 1}) {
      std::vector<float> shifted = weight;
      for (size_t i = 0; i < shifted.size(); ++i) shifted[i] += static_cast<float>((side == 0 ? h : -h) * gradient[i]);
      set_weight(p, *device_, shifted.data());
      moved[side] = loss_at(place);
    }
    set_weight(p, *device_, weight.data());
    EXPECT_NEAR((moved[0] - moved[1]) / (2 * h), squares, 0.02 * squares) << p.name;
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
