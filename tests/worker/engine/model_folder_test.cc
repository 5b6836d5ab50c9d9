// Model folders as others write them, and those that are not what they say.
#include <algorithm>

#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/model/model.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A fixture's model, and a folder that can be written from it with changes.
class ModelFolder : public testing::Test {
 protected:
  void use(const std::string& family) {
    reference_.emplace(open_fixture("family_" + family));
    absl::StatusOr<ModelConfig> config = model_config_from_json(reference_->metadata().at("config"), "fixture", {});
    ASSERT_TRUE(config.ok()) << config.status();
    parameters_ = model_parameters(*config, std::nullopt);
    allocate_weights(parameters_, {}, arena_);
    ASSERT_TRUE(arena_.status().ok());
    for (const Parameter& p : parameters_) fill_with(p, 7.0F);
    tensors_.clear();
    for (const Parameter& p : parameters_) {
      tensors_.push_back({p.name,
                          reference_->entries().at(p.name).shape,
                          [this, name = p.name] { return fixture(*reference_, name); },
                          "F32",
                          {}});
    }
  }
  void fill_with(const Parameter& p, float value) {
    set_weight(p, *device_, std::vector<float>(p.out * p.in, value).data());
  }
  TensorToWrite& tensor(const std::string& name) {
    return *std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& t) { return t.name == name; });
  }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const auto& t) { return t.name == name; });
  }
  absl::Status load(std::vector<std::string>* fresh = nullptr) {
    EXPECT_TRUE(write_safetensors(folder_.path() + "/model.safetensors", tensors_, {}).ok());
    return load_weights(folder_.path(), parameters_, *device_, fresh);
  }
  void expect_loaded(const std::vector<std::string>& but = {}) {
    for (const Parameter& p : parameters_) {
      const bool left = std::find(but.begin(), but.end(), p.name) != but.end();
      EXPECT_EQ(get_weight(p, *device_) == fixture(*reference_, p.name), !left) << p.name;
    }
  }

  TestFolder folder_;
  std::unique_ptr<Device> device_ = make_cpu_device(1);
  Arena arena_{*device_};
  std::optional<SafetensorsReader> reference_;
  std::vector<Parameter> parameters_;
  std::vector<TensorToWrite> tensors_;
};

TEST_F(ModelFolder, NamesOfTheBodyAloneAndOfOldLayerNormsAreFound) {
  use("bert");
  for (TensorToWrite& t : tensors_) {
    if (t.name.starts_with("bert.")) t.name = t.name.substr(5);
    for (const auto& [now, then] :
         {std::pair("LayerNorm.weight", "LayerNorm.gamma"), std::pair("LayerNorm.bias", "LayerNorm.beta")}) {
      const size_t at = t.name.find(now);
      if (at != std::string::npos) t.name.replace(at, std::string::npos, then);
    }
  }
  tensors_.push_back({"embeddings.position_ids", {2}, [] { return std::vector<float>(2); }, "F32", {}});
  tensors_.push_back({"cls.predictions.bias", {3}, [] { return std::vector<float>(3); }, "F32", {}});
  const absl::Status loaded = load();
  ASSERT_TRUE(loaded.ok()) << loaded;
  expect_loaded();
}

TEST_F(ModelFolder, AClassifierMayBeNewButOnlyAsAWholeLayerAndOnlyInTraining) {
  use("bert");
  remove("classifier.weight");
  remove("classifier.bias");
  std::vector<std::string> fresh;
  const absl::Status loaded = load(&fresh);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_THAT(fresh, ElementsAre("classifier.weight", "classifier.bias"));
  expect_loaded(fresh);
  EXPECT_THAT(std::string(load().message()), HasSubstr("has no tensor classifier.weight (3x16)"));
  remove("bert.pooler.dense.bias");
  fresh.clear();
  EXPECT_THAT(std::string(load(&fresh).message()), HasSubstr("has no tensor bert.pooler.dense.bias (16)"));
  remove("bert.pooler.dense.weight");
  fresh.clear();
  ASSERT_TRUE(load(&fresh).ok());
  EXPECT_EQ(fresh.size(), 4U);
  remove("bert.encoder.layer.1.output.dense.bias");
  fresh.clear();
  EXPECT_THAT(std::string(load(&fresh).message()),
              HasSubstr("has no tensor bert.encoder.layer.1.output.dense.bias (16)"));
}

TEST_F(ModelFolder, MissingMisshapenAndExtraTensorsAreNamedWithTheirShapes) {
  use("qwen2");
  tensor("model.layers.1.self_attn.k_proj.bias").shape = {4, 2};
  EXPECT_THAT(std::string(load().message()),
              HasSubstr("model.layers.1.self_attn.k_proj.bias has shape 4x2; the model needs 8"));
  remove("model.layers.1.self_attn.k_proj.bias");
  EXPECT_THAT(std::string(load().message()), HasSubstr("has no tensor model.layers.1.self_attn.k_proj.bias (8)"));
  use("qwen2");
  tensors_.push_back({"model.layers.2.mlp.up_proj.weight", {2, 3}, [] { return std::vector<float>(6); }, "F32", {}});
  EXPECT_THAT(std::string(load().message()),
              HasSubstr("holds a tensor that this model does not have: model.layers.2.mlp.up_proj.weight (2x3)"));
  use("bert");
  tensors_.push_back(
      {"bert.encoder.layer.2.output.dense.bias", {16}, [] { return std::vector<float>(16); }, "F32", {}});
  EXPECT_THAT(std::string(load().message()), HasSubstr("does not have: bert.encoder.layer.2.output.dense.bias (16)"));
}

}  // namespace
}  // namespace galleon
