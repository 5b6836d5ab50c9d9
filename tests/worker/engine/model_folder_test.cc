// Model folders as others write them, and those that are not what they say.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "kernels/math/bfloat16.h"
#include "tests/worker/engine/reference_support.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/checkpoint/checkpoint.h"
#include "worker/engine/model/model.h"
#include "worker/engine/model/model_parameters.h"

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

// The bytes of numbers in a type of 16 bits.
template <typename Convert>
std::string in_16_bits(const std::vector<float>& values, const Convert& convert) {
  std::string bytes(2 * values.size(), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    const auto number = convert(values[i]);
    static_assert(sizeof(number) == 2);
    std::memcpy(bytes.data() + 2 * i, &number, 2);
  }
  return bytes;
}

TEST_F(ModelFolder, ShardsAndTypesOf16BitsAreReadToTheBit) {
  use("mistral");
  std::vector<TensorToWrite> shards[2];
  std::string map;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    TensorToWrite t = tensors_[i];
    if (i % 3 != 0) {
      const std::vector<float> values = t.values();
      t.type = i % 3 == 1 ? "F16" : "BF16";
      t.bytes = [=] {
        return i % 3 == 1 ? in_16_bits(values, [](float v) { return static_cast<_Float16>(v); })
                          : in_16_bits(values, [](float v) { return math::to_bfloat16(v); });
      };
    }
    absl::StrAppend(&map, map.empty() ? "" : ",", "\"", t.name, "\":\"part-", i % 2, ".safetensors\"");
    shards[i % 2].push_back(std::move(t));
  }
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(write_safetensors(absl::StrCat(folder_.path(), "/part-", i, ".safetensors"), shards[i], {}).ok());
  folder_.write("model.safetensors.index.json", absl::StrCat("{\"weight_map\":{", map, "}}"));
  const absl::Status loaded = load_weights(folder_.path(), parameters_, *device_);
  ASSERT_TRUE(loaded.ok()) << loaded;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    std::vector<float> expected = fixture(*reference_, parameters_[i].name);
    for (float& v : expected) {
      if (i % 3 == 1) v = static_cast<float>(static_cast<_Float16>(v));
      if (i % 3 == 2) v = math::to_float(math::to_bfloat16(v));
    }
    EXPECT_EQ(get_weight(parameters_[i], *device_), expected) << parameters_[i].name;
  }
  std::filesystem::remove(folder_.path() + "/part-1.safetensors");
  EXPECT_THAT(std::string(check_weights(folder_.path(), parameters_).message()), HasSubstr("part-1.safetensors"));
}

TEST_F(ModelFolder, OfSourcesThatDisagreeTransformersChoiceIsTakenOrBothAreNamed) {
  use("mistral");
  folder_.write("model.safetensors.index.json", R"({"weight_map": {"model.norm.weight": "gone.safetensors"}})");
  ASSERT_TRUE(load().ok()) << "a whole file comes before an index";
  expect_loaded();
  folder_.write("adapter_config.json", "{}");
  EXPECT_THAT(std::string(load().message()), HasSubstr("holds an adapter (adapter_config.json)"));
}

TEST_F(ModelFolder, AHeadBesideATiedEmbeddingHasToBeTheSame) {
  use("mistral");
  const std::vector<float> embedding = fixture(*reference_, "model.embed_tokens.weight");
  std::erase_if(parameters_, [](const Parameter& p) { return p.group == ParameterGroup::kHead; });
  remove("lm_head.weight");
  const std::vector<int64_t> shape = tensor("model.embed_tokens.weight").shape;
  tensors_.push_back({"lm_head.weight", shape, [=] { return embedding; }, "F32", {}});
  EXPECT_TRUE(load().ok());
  tensor("lm_head.weight").values = [=] { return std::vector<float>(embedding.size(), 0.5F); };
  EXPECT_THAT(std::string(load().message()),
              HasSubstr("tie_word_embeddings is true, and lm_head.weight differs from model.embed_tokens.weight"));
}

TEST_F(ModelFolder, NewTokensBeginAsTheMeanOfTheOthers) {
  use("mistral");
  const std::string name = "model.embed_tokens.weight";
  TensorToWrite& embedding = tensor(name);
  const int64_t width = embedding.shape[1];
  const int64_t rows = embedding.shape[0] - 2;
  for (const char* one : {"model.embed_tokens.weight", "lm_head.weight"}) {
    TensorToWrite& t = tensor(one);
    t.shape[0] = rows;
    t.values = [values = std::vector<float>(t.values()), rows, width] {
      return std::vector<float>(values.begin(), values.begin() + rows * width);
    };
  }
  EXPECT_THAT(std::string(load().message()), HasSubstr("has shape"));
  ASSERT_TRUE(write_safetensors(folder_.path() + "/model.safetensors", tensors_, {}).ok());
  const absl::Status loaded = load_weights(folder_.path(), parameters_, *device_, nullptr, rows);
  ASSERT_TRUE(loaded.ok()) << loaded;
  const auto found =
      std::find_if(parameters_.begin(), parameters_.end(), [&](const auto& p) { return p.name == name; });
  const std::vector<float> values = get_weight(*found, *device_);
  for (int64_t column = 0; column < width; ++column) {
    double sum = 0;
    for (int64_t row = 0; row < rows; ++row) sum += values[row * width + column];
    EXPECT_EQ(values[rows * width + column], static_cast<float>(sum / static_cast<double>(rows)));
    EXPECT_EQ(values[(rows + 1) * width + column], values[rows * width + column]);
  }
}

TEST_F(ModelFolder, WhatCannotBeReadIsNamedFromTheHeadersAlone) {
  use("mistral");
  tensor("model.norm.weight").type = "F64";
  tensor("model.norm.weight").bytes = [] { return std::string(8 * 16, '\0'); };
  EXPECT_THAT(std::string(load().message()), HasSubstr("model.norm.weight has type F64; F32, F16 or BF16 can be read"));
  std::filesystem::remove(folder_.path() + "/model.safetensors");
  EXPECT_THAT(std::string(check_weights(folder_.path(), parameters_).message()), HasSubstr("model.safetensors"));
  folder_.write("pytorch_model.bin", "x");
  EXPECT_THAT(std::string(check_weights(folder_.path(), parameters_).message()),
              HasSubstr("has its weights in pytorch_model.bin; model.safetensors can be read"));
  RunOptions options = tiny_run(folder_);
  options.model.source = folder_.path();
  options.model.pretrained = true;
  folder_.write("config.json", reference_->metadata().at("config"));
  options.tokenizer.clear();
  options.data.sequence_length = 8;
  EXPECT_THAT(std::string(resolve_job(options).status().message()), HasSubstr("model.source: "))
      << "before any training";
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Ends with 0 if all of these files are refused with little more memory than there is now.
void refuse_within_little_memory(const std::vector<std::string>& paths) {
  rlimit limit{};
  std::ifstream pages("/proc/self/statm");
  rlim_t now = 0;
  pages >> now;
  limit.rlim_cur = limit.rlim_max = now * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);
  if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(2);
  for (const std::string& path : paths) {
    if (SafetensorsReader::open(path).status().code() != absl::StatusCode::kDataLoss) ::_exit(3);
  }
  ::_exit(0);
}

TEST_F(ModelFolder, AHostileHeaderIsRefusedWithoutMemoryBeyondTheFile) {
  const auto file = [&](const std::string& name, uint64_t length, const std::string& rest) {
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    return folder_.write(name, bytes + rest);
  };
  const auto header = [&](const std::string& name, const std::string& json) { return file(name, json.size(), json); };
  const std::vector<std::string> paths = {
      file("endless", ~uint64_t{0}, "{}"),
      file("long", uint64_t{90} << 20, "{}"),
      header("terabytes", R"({"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}})"),
      header("overflow", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"),
      header("negative", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}})"),
      header("backwards", R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[4,0]}})"),
      header("deep", std::string(1 << 20, '[')),
  };
  EXPECT_EXIT(refuse_within_little_memory(paths), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace galleon
