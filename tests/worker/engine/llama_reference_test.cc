// The model against Hugging Face transformers in double precision (tests/fixtures/make_llama.py).
#include <cstdlib>

#include "tests/worker/engine/dense_sink.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/test_device.h"
#include "worker/engine/model/decoder.h"
#include "worker/engine/model/model_parameters.h"

namespace galleon {
namespace {

// fp32 against double precision through two blocks: rounding of 52-term sums, a dozen times over.
constexpr double kTolerance = 2e-5;

struct Case {
  const char* fixture;
  bool transposed;  // linear layers stored in×out
  Activations kept = Activations::kAll;
};

class LlamaReference : public testing::TestWithParam<Case> {};

TEST_P(LlamaReference, LossAndEveryGradientAreThoseOfTransformers) {
  const SafetensorsReader reference = open_fixture(GetParam().fixture);
  absl::StatusOr<ModelConfig> config = model_config_from_json(reference.metadata().at("config"), "fixture", {});
  ASSERT_TRUE(config.ok()) << config.status();
  std::unique_ptr<Device> device = make_test_device(2);
  Arena arena(*device);
  // A projection on the left stores matrices transposed; nothing else of it is used here.
  GaloreOptions orientation;
  orientation.rank = 4;
  orientation.side = GetParam().transposed ? ProjectionSide::kLeft : ProjectionSide::kRight;
  std::vector<Parameter> parameters = model_parameters(*config, orientation);
  allocate_weights(parameters, {}, arena);
  Decoder model(*config, parameters, 3, 17, GetParam().kept, arena);
  ASSERT_TRUE(arena.status().ok());
  for (const Parameter& p : parameters) set_weight(p, *device, fixture(reference, p.name).data());

  const Batch batch = batch_fixture(reference);
  const double loss = std::stod(reference.metadata().at("loss_sum"));
  const float scale = 1.0F / std::stof(reference.metadata().at("counted"));

  EXPECT_NEAR(model.forward_loss(batch), loss, kTolerance * loss);
  DenseSink sink(parameters, *device);
  EXPECT_NEAR(model.forward_backward(batch, scale, sink, {}), loss, kTolerance * loss);
  for (const Parameter& p : parameters) {
    EXPECT_LT(relative_difference(sink.gradient(p.index, *device), fixture(reference, "gradient." + p.name)),
              kTolerance)
        << p.name;
    EXPECT_EQ(sink.times_finished(p.index), 1) << p.name;
  }

  const std::vector<float> logits = fixture(reference, "logits");
  const std::vector<float> third = model.next_logits({batch.ids.begin(), batch.ids.begin() + 3});
  EXPECT_LT(
      relative_difference(third, {logits.begin() + 2 * config->vocabulary, logits.begin() + 3 * config->vocabulary}),
      kTolerance);
}

// Rows that a batch leaves out, and positions that it pads with targets that do not count, change nothing.
TEST(DecoderBatch, AShorterBatchGivesTheGradientsOfAPaddedOne) {
  const SafetensorsReader reference = open_fixture("llama_grouped");
  absl::StatusOr<ModelConfig> config = model_config_from_json(reference.metadata().at("config"), "fixture", {});
  ASSERT_TRUE(config.ok()) << config.status();
  const Batch full = batch_fixture(reference);
  Batch padded = full;
  Batch cut;
  cut.sequences = 2;
  cut.length = 9;
  for (int64_t s = 0; s < full.sequences; ++s) {
    for (int64_t t = 0; t < full.length; ++t) {
      const int64_t at = s * full.length + t;
      if (s < 2 && t < 9) {
        cut.ids.push_back(full.ids[at]);
        cut.targets.push_back(full.targets[at]);
      } else {
        padded.targets[at] = -1;
      }
    }
  }
  std::unique_ptr<Device> device = make_test_device(2);
  Arena arena(*device);
  std::vector<Parameter> parameters = model_parameters(*config, std::nullopt);
  allocate_weights(parameters, {}, arena);
  for (const Activations kept : {Activations::kAll, Activations::kBlockInputs}) {
    const std::unique_ptr<Model> model = make_model(*config, parameters, 3, 17, kept, arena);
    ASSERT_TRUE(arena.status().ok());
    for (const Parameter& p : parameters) set_weight(p, *device, fixture(reference, p.name).data());
    DenseSink of_padded(parameters, *device);
    DenseSink of_cut(parameters, *device);
    const double loss = model->forward_backward(padded, 1.0F, of_padded, {});
    EXPECT_NEAR(model->forward_backward(cut, 1.0F, of_cut, {}), loss, kTolerance * loss);
    EXPECT_NEAR(model->forward_loss(cut), loss, kTolerance * loss);
    for (const Parameter& p : parameters) {
      EXPECT_LT(relative_difference(of_cut.gradient(p.index, *device), of_padded.gradient(p.index, *device)),
                kTolerance)
          << p.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, LlamaReference,
                         testing::Values(Case{"llama_plain", false}, Case{"llama_plain", true},
                                         Case{"llama_grouped", false}, Case{"llama_grouped", true},
                                         Case{"llama_tied", false}, Case{"llama_tied", true},
                                         Case{"llama_grouped", false, Activations::kBlockInputs}),
                         [](const auto& test) {
                           return std::string(test.param.fixture) + (test.param.transposed ? "_transposed" : "") +
                                  (test.param.kept == Activations::kBlockInputs ? "_recomputed" : "");
                         });

}  // namespace
}  // namespace galleon
