// The adapters of a run as files for peft: which are there, what they say, and that the model of model.source with them
// is the merged one. What peft makes of them is in transformers_test.cc.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/worker/engine/labelled_letters.h"
#include "tests/worker/engine/peft_runs.h"
#include "tests/worker/engine/reference_support.h"
#include "worker/engine/checkpoint/model_weights.h"
#include "worker/engine/checkpoint/peft_adapter.h"
#include "worker/engine/model/model_parameters.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Json = nlohmann::json;

Json json_of(const std::string& path) {
  const absl::StatusOr<std::string> text = read_file(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? Json::parse(*text) : Json();
}

// Of the base, or of an adapted matrix of it.
std::vector<float> base_plus_adapter(const SafetensorsReader& base, const SafetensorsReader& adapter,
                                     const std::string& name, double scale) {
  const std::string prefix = "base_model.model.";
  if (adapter.entries().contains(prefix + name)) return fixture(adapter, prefix + name);
  const std::string module = name.substr(0, name.rfind('.'));
  if (name.ends_with(".bias") && adapter.entries().contains(prefix + module + ".base_layer.bias"))
    return fixture(adapter, prefix + module + ".base_layer.bias");
  std::vector<float> values = fixture(base, name);
  const std::string a_name = prefix + module + ".lora_A.weight";
  if (!name.ends_with(".weight") || !adapter.entries().contains(a_name)) return values;
  const std::vector<float> a = fixture(adapter, a_name);
  const std::vector<float> b = fixture(adapter, prefix + module + ".lora_B.weight");
  const int64_t rank = adapter.entries().at(a_name).shape[0];
  const int64_t in = adapter.entries().at(a_name).shape[1];
  const auto out = static_cast<int64_t>(b.size()) / rank;
  for (int64_t i = 0; i < out; ++i) {
    for (int64_t j = 0; j < in; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < rank; ++k) sum += static_cast<double>(b[i * rank + k]) * a[k * in + j];
      values[i * in + j] = static_cast<float>(values[i * in + j] + scale * sum);
    }
  }
  return values;
}

// Every tensor of the merged model is that of the base with the adapter, and some are not the base's.
void expect_base_and_adapter_are_the_merged(const std::string& base_folder, const std::string& step, double tolerance) {
  absl::StatusOr<SafetensorsReader> base = SafetensorsReader::open(base_folder + "/model.safetensors");
  absl::StatusOr<SafetensorsReader> merged = SafetensorsReader::open(step + "/model.safetensors");
  absl::StatusOr<SafetensorsReader> adapter = SafetensorsReader::open(step + "/" + kPeftWeights);
  ASSERT_TRUE(base.ok() && merged.ok() && adapter.ok()) << adapter.status();
  const Json config = json_of(step + "/" + kPeftConfig);
  const double scale = config["lora_alpha"].get<double>() / config["r"].get<double>();
  int changed = 0;
  for (const auto& [name, entry] : merged->entries()) {
    const std::vector<float> values = fixture(*merged, name);
    EXPECT_LT(relative_difference(base_plus_adapter(*base, *adapter, name, scale), values), tolerance) << name;
    changed += base->entries().contains(name) && fixture(*base, name) != values ? 1 : 0;
  }
  EXPECT_GT(changed, 0);
}

TEST(PeftExport, BaseAndAdapterAreTheMergedModelOnAnyRanksStagesAndTypes) {
  TestFolder folder;
  struct Case {
    const char* name;
    bool tied, train_rest;
    MasterWeights master;
    DataType type;
    int ranks, zero;
    double tolerance;
  };
  // fp32: products of four numbers and one sum. bf16: the base is rounded to 8 bits where it is trained, which the
  // folder's is not, and what is merged is rounded again.
  constexpr double kExact = 1e-6;
  constexpr double kBf16 = 1e-2;
  for (const Case& c : {Case{"plain", false, false, MasterWeights::kNone, DataType::kFloat32, 1, 1, kExact},
                        {"tied", true, false, MasterWeights::kNone, DataType::kFloat32, 2, 1, kExact},
                        {"rest", false, true, MasterWeights::kNone, DataType::kFloat32, 2, 3, kExact},
                        {"tied rest", true, true, MasterWeights::kNone, DataType::kFloat32, 1, 1, kExact},
                        {"bf16", false, false, MasterWeights::kNone, DataType::kBFloat16, 2, 3, kBf16},
                        {"master", true, true, MasterWeights::kFp32, DataType::kBFloat16, 1, 1, kBf16}}) {
    SCOPED_TRACE(c.name);
    const std::string name = absl::StrCat(folder.path(), "/", c.name);
    RunOptions o = adapted_run(folder, base_model(absl::StrCat(name, "-base"), c.tied), name);
    o.optimizer.lora->train_rest = c.train_rest;
    o.optimizer.zero = c.zero;
    o.weights = {c.type, c.master};
    const std::vector<RankOutcome> run = run_ranks(o, c.ranks, name + "-out");
    ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
    const std::string step = o.checkpoint_folder + "/step-00000006";
    expect_base_and_adapter_are_the_merged(o.model.source, step, c.tolerance);
    EXPECT_TRUE(verify_checkpoint(step, true).ok());
    const Json manifest = json_of(step + "/manifest.json");
    EXPECT_TRUE(manifest["files"].contains(kPeftWeights) && manifest["files"].contains(kPeftConfig));
  }
}

TEST(PeftExport, TheConfigSaysWhatIsAdaptedWhatIsSavedAndOnWhat) {
  TestFolder folder;
  RunOptions o = adapted_run(folder, base_model(folder.path() + "/base", true), folder.path() + "/run");
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  const std::string step = o.checkpoint_folder + "/step-00000006";
  const Json config = json_of(step + "/" + kPeftConfig);
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["task_type"], "CAUSAL_LM");
  EXPECT_EQ(config["base_model_name_or_path"], folder.path() + "/base");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"], 8);
  EXPECT_EQ(config["lora_dropout"], 0.1);
  EXPECT_EQ(config["bias"], "none");
  EXPECT_TRUE(config["modules_to_save"].is_null());
  EXPECT_EQ(config["target_modules"],
            Json({"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}));
  absl::StatusOr<SafetensorsReader> adapter = SafetensorsReader::open(step + "/" + kPeftWeights);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_EQ(adapter->entries().size(), 2U * 7 * 2);
  const auto& entries = adapter->entries();
  EXPECT_THAT(entries.at("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").shape, ElementsAre(4, 172));
  EXPECT_THAT(entries.at("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight").shape, ElementsAre(64, 4));
}

// Of a network's parameters alone.
Json config_of(const std::string& model, const LoraOptions& lora, std::vector<std::string>* names = nullptr) {
  const absl::StatusOr<ModelConfig> config = model_config_from_json(model, "test", {});
  EXPECT_TRUE(config.ok()) << config.status();
  std::vector<Parameter> parameters = model_parameters(*config, std::nullopt);
  add_adapters(parameters, lora);
  const PeftAdapter adapter = peft_adapter(*config, parameters, lora, "base");
  if (names != nullptr) {
    for (const PeftTensor& tensor : adapter.tensors) names->push_back(tensor.name);
  }
  return Json::parse(adapter.config);
}

constexpr const char* kSizes =
    R"("vocab_size":29,"hidden_size":16,"intermediate_size":20,"num_attention_heads":4,"num_hidden_layers":2)";

TEST(PeftExport, EndingsOfNamesAreAsLongAsItTakesToTellModulesApart) {
  struct Case {
    const char* model;
    bool attention, mlp, rest;
    Json targets, saved;
    const char* bias;
  };
  const Json every_norm = {"embed_tokens", "input_layernorm", "lm_head", "norm", "post_attention_layernorm"};
  for (const Case& c : std::vector<Case>{
           {R"("model_type":"llama")", true, false, false, {"k_proj", "o_proj", "q_proj", "v_proj"}, nullptr, "none"},
           {R"("model_type":"llama","tie_word_embeddings":true)",
            false,
            true,
            true,
            {"down_proj", "gate_proj", "up_proj"},
            {"embed_tokens", "input_layernorm", "k_proj", "lm_head", "norm", "o_proj", "post_attention_layernorm",
             "q_proj", "v_proj"},
            "none"},
           {R"("model_type":"qwen2")",
            true,
            true,
            true,
            {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"},
            every_norm,
            "all"},
           {R"("model_type":"bert")",
            true,
            true,
            false,
            {"intermediate.dense", "key", "output.dense", "query", "value"},
            {"classifier", "pooler"},
            "none"},
           // attention.output.dense has no adapter, and ends like output.dense.
           {R"("model_type":"bert")",
            false,
            true,
            false,
            {"0.output.dense", "1.output.dense", "intermediate.dense"},
            {"classifier", "pooler"},
            "none"},
           {R"("model_type":"roberta")",
            true,
            false,
            false,
            {"attention.output.dense", "key", "query", "value"},
            {"classifier"},
            "none"}}) {
    SCOPED_TRACE(absl::StrCat(c.model, c.attention, c.mlp, c.rest));
    LoraOptions lora;
    lora.rank = 3;
    lora.alpha = 4.5;
    lora.target_attention = c.attention;
    lora.target_mlp = c.mlp;
    lora.train_rest = c.rest;
    const Json config = config_of(absl::StrCat("{", c.model, ",", kSizes, "}"), lora);
    EXPECT_EQ(config["target_modules"], c.targets);
    EXPECT_EQ(config["modules_to_save"], c.saved);
    EXPECT_EQ(config["bias"], c.bias);
    EXPECT_EQ(config["lora_alpha"], 4.5);
  }
}

TEST(PeftExport, WhatIsTrainedWholeStandsUnderItsOwnNameAndATiedHeadUnderBoth) {
  LoraOptions lora;
  lora.rank = 3;
  std::vector<std::string> names;
  config_of(absl::StrCat(R"({"model_type":"qwen2","tie_word_embeddings":true,)", kSizes, "}"), lora, &names);
  const auto times = [&](const char* name) {
    return std::count(names.begin(), names.end(), absl::StrCat("base_model.model.", name));
  };
  for (const char* name :
       {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight",
        "model.layers.0.self_attn.q_proj.base_layer.bias", "model.layers.0.self_attn.q_proj.lora_A.weight"}) {
    EXPECT_EQ(times(name), 1) << name;
  }
  EXPECT_EQ(times("model.layers.0.self_attn.q_proj.weight"), 0);
  names.clear();
  lora.train_rest = false;
  config_of(absl::StrCat(R"({"model_type":"roberta",)", kSizes, "}"), lora, &names);
  for (const char* name : {"classifier.dense.weight", "classifier.out_proj.bias"}) EXPECT_EQ(times(name), 1) << name;
}

std::vector<std::string> said_of_adapters(const RankOutcome& run) {
  std::vector<std::string> said;
  for (const std::string& stage : run.observer.stages) {
    if (stage.starts_with("adapter: ")) said.push_back(stage);
  }
  return said;
}

TEST(PeftExport, WhereNoFolderHoldsTheFrozenWeightsNoAdapterIsWrittenAndThatIsSaid) {
  TestFolder folder;
  const std::string base = base_model(folder.path() + "/base", true);
  struct Case {
    const char* name;
    bool pretrained;
    std::vector<std::pair<std::string, std::string>> overrides;
    const char* why;  // empty: it is written
  };
  for (const Case& c : std::vector<Case>{
           {"random", false, {}, "the frozen matrices began at random (model.init: random)"},
           {"grown", true, {{"vocab_size", "260"}}, "model.overrides.vocab_size 260 is more than the 257 of "},
           {"epsilon", true, {{"rms_norm_eps", "0.001"}, {"rope_theta", "500.0"}}, ": rms_norm_eps, rope_theta"},
           {"idle", true, {{"initializer_range", "0.5"}, {"bos_token_id", "3"}}, ""}}) {
    SCOPED_TRACE(c.name);
    RunOptions o = adapted_run(folder, base, absl::StrCat(folder.path(), "/", c.name));
    o.model.pretrained = c.pretrained;
    o.model.overrides = c.overrides;
    o.steps = 2;
    const std::vector<RankOutcome> run = run_ranks(o, 2, absl::StrCat(folder.path(), "/", c.name, "-out"));
    ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
    const bool written = c.why[0] == '\0';
    EXPECT_EQ(std::filesystem::exists(o.checkpoint_folder + "/step-00000002/" + kPeftFolder), written);
    if (written) {
      EXPECT_THAT(said_of_adapters(run[0]), IsEmpty());
    } else {
      EXPECT_THAT(said_of_adapters(run[0]), ElementsAre(HasSubstr(c.why)));
    }
  }
}

TEST(PeftExport, AResumedRunWritesItsAdapterOnlyIfTheFolderStillHoldsWhatItBeganFrom) {
  TestFolder folder;
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    const std::string name = absl::StrCat(folder.path(), "/", type_name(type));
    const std::string base = base_model(name + "-base", false);
    RunOptions o = adapted_run(folder, base, name);
    o.weights.type = type;
    o.steps = 8;
    o.schedule_steps = 8;
    const auto run_to = [&](int64_t stop, int64_t from) {
      return run_one(o, name + "-out", [&](int, RecordingObserver& observer, RunContext&) {
        observer.stop_after = stop;
        observer.resumed_at = from;
      });
    };
    ASSERT_TRUE(run_to(3, 0).result.ok());
    const RankOutcome same = run_to(5, 3);
    ASSERT_TRUE(same.result.ok()) << same.result.status();
    EXPECT_THAT(said_of_adapters(same), IsEmpty());
    expect_base_and_adapter_are_the_merged(base, o.checkpoint_folder + "/step-00000005",
                                           type == DataType::kFloat32 ? 1e-6 : 1e-2);
    // Another model of the same shape has taken its place.
    std::filesystem::remove_all(base);
    base_model(base, false, 43);
    const RankOutcome changed = run_to(0, 5);
    ASSERT_TRUE(changed.result.ok()) << changed.result.status();
    EXPECT_THAT(said_of_adapters(changed), ElementsAre(HasSubstr("is no longer what the run began from: ")));
    EXPECT_FALSE(std::filesystem::exists(o.checkpoint_folder + "/step-00000008/" + kPeftFolder));
  }
}

TEST(PeftExport, AClassifierIsSavedWithTheAdapterWhateverNumberOfLabelsTheFolderHad) {
  TestFolder folder;
  RunOptions o = adapted_classifier(folder, folder.path() + "/run");
  const RankOutcome run = run_one(o, folder.path() + "/out");
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_THAT(said_of_adapters(run), IsEmpty());
  const std::string step = o.checkpoint_folder + "/step-00000006";
  const Json config = json_of(step + "/" + kPeftConfig);
  EXPECT_EQ(config["task_type"], "SEQ_CLS");
  EXPECT_EQ(config["modules_to_save"], Json({"classifier", "pooler"}));
  expect_base_and_adapter_are_the_merged(o.model.source, step, 1e-6);
}

TEST(PeftExport, AFolderOfAnAdapterIsNotTakenForAModel) {
  TestFolder folder;
  RunOptions o = adapted_run(folder, base_model(folder.path() + "/base", true), folder.path() + "/run");
  o.steps = 2;
  ASSERT_TRUE(run_one(o, folder.path() + "/out").result.ok());
  const std::string step = o.checkpoint_folder + "/step-00000002";
  o.model.source = step + "/adapter";
  const absl::Status own = resolve_job(o).status();
  EXPECT_EQ(own.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(own.message()), StartsWith("model.source: "));
  EXPECT_THAT(std::string(own.message()), HasSubstr("the checkpoint around it, where it is merged"));
  EXPECT_THAT(std::string(own.message()), HasSubstr("step-00000002, "));
  // Elsewhere, as peft leaves it.
  std::filesystem::copy(step + "/adapter", folder.path() + "/alone");
  o.model.source = folder.path() + "/alone";
  const absl::Status alone = resolve_job(o).status();
  EXPECT_THAT(std::string(alone.message()), HasSubstr(absl::StrCat("which peft puts on ", folder.path(), "/base")));
  EXPECT_THAT(std::string(alone.message()), HasSubstr("merge_and_unload"));
  // The checkpoint that it lies in is a model like any other.
  o.model.source = step;
  EXPECT_TRUE(resolve_job(o).ok());
}

}  // namespace
}  // namespace galleon
