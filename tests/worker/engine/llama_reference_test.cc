// The model against Hugging Face transformers in double precision (tests/fixtures/make_llama.py).
#include <cstdlib>

#include "tests/worker/engine/reference_support.h"
#include "worker/engine/model/llama.h"

namespace galleon {
namespace {

// fp32 against double precision through two blocks: rounding of 52-term sums, a dozen times over.
constexpr double kTolerance = 2e-5;

// Collects gradients as transformers lays them out, without any projection.
class DenseSink final : public GradientSink {
 public:
  DenseSink(std::vector<Parameter>& parameters, Device& device) : parameters_(parameters), arena_(device) {
    for (const Parameter& p : parameters) {
      gradients_.push_back(arena_.tensor(p.name, MemoryCategory::kGradients, p.rows(), p.columns()));
    }
  }
  void linear(int parameter, const Tensor& x, const Tensor& dy) override {
    Tensor& g = gradients_[parameter];
    const bool transposed = parameters_[parameter].transposed;
    const Tensor& a = transposed ? x : dy;
    const Tensor& b = transposed ? dy : x;
    for (int64_t t = 0; t < a.rows; ++t) {
      for (int64_t i = 0; i < a.columns; ++i) {
        for (int64_t j = 0; j < b.columns; ++j)
          g.f32()[i * g.stride + j] += a.f32()[t * a.stride + i] * b.f32()[t * b.stride + j];
      }
    }
  }
  Tensor dense(int parameter) override { return gradients_[parameter]; }
  void finished(int parameter) override { ++finished_[parameter]; }

  std::vector<float> gradient(int parameter, Device& device) const {
    Parameter as_weight = parameters_[parameter];
    as_weight.weight = gradients_[parameter];
    return get_weight(as_weight, device);
  }
  int times_finished(int parameter) const { return finished_.contains(parameter) ? finished_.at(parameter) : 0; }

 private:
  std::vector<Parameter>& parameters_;
  Arena arena_;
  std::vector<Tensor> gradients_;
  std::map<int, int> finished_;
};

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
