// The model against Hugging Face transformers in double precision (tests/fixtures/make_llama.py).
#include <cstdlib>

#include "tests/worker/engine/dense_sink.h"
#include "tests/worker/engine/reference_support.h"
#include "worker/engine/model/llama.h"

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
  absl::StatusOr<LlamaConfig> config = llama_config_from_json(reference.metadata().at("config"), "fixture", {});
  ASSERT_TRUE(config.ok()) << config.status();
  std::unique_ptr<Device> device = make_cpu_device(2);
  Arena arena(*device);
  // A projection on the left stores matrices transposed; nothing else of it is used here.
  GaloreOptions orientation;
  orientation.rank = 4;
  orientation.side = GetParam().transposed ? ProjectionSide::kLeft : ProjectionSide::kRight;
  std::vector<Parameter> parameters = llama_parameters(*config, orientation);
  allocate_weights(parameters, {}, arena);
  Llama model(*config, parameters, 3, 17, GetParam().kept, arena);
  ASSERT_TRUE(arena.status().ok());
  for (const Parameter& p : parameters) set_weight(p, *device, fixture(reference, p.name).data());

  const std::vector<float> ids_values = fixture(reference, "ids");
  const std::vector<float> target_values = fixture(reference, "targets");
  const std::vector<int32_t> ids(ids_values.begin(), ids_values.end());
  const std::vector<int32_t> targets(target_values.begin(), target_values.end());
  const double loss = std::stod(reference.metadata().at("loss_sum"));
  const float scale = 1.0F / std::stof(reference.metadata().at("counted"));

  EXPECT_NEAR(model.forward_loss(ids.data(), targets.data(), 3), loss, kTolerance * loss);
  DenseSink sink(parameters, *device);
  EXPECT_NEAR(model.forward_backward(ids.data(), targets.data(), scale, sink), loss, kTolerance * loss);
  for (const Parameter& p : parameters) {
    EXPECT_LT(relative_difference(sink.gradient(p.index, *device), fixture(reference, "gradient." + p.name)),
              kTolerance)
        << p.name;
    EXPECT_EQ(sink.times_finished(p.index), 1) << p.name;
  }

  const std::vector<float> logits = fixture(reference, "logits");
  const std::vector<float> third = model.next_logits(ids.data(), 2);
  EXPECT_LT(
      relative_difference(third, {logits.begin() + 2 * config->vocabulary, logits.begin() + 3 * config->vocabulary}),
      kTolerance);
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
