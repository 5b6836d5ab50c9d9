// The adapters of checkpoints, in the package peft. GALLEON_PYTHON names a Python that has torch, transformers and
// peft; without one these tests are skipped.
#include <cstdlib>

#include "absl/strings/str_split.h"
#include "tests/worker/engine/peft_runs.h"
#include "tests/worker/engine/python_packages.h"

namespace galleon {
namespace {

bool has_peft() {
  static const bool has = python_has("torch, transformers, peft");
  return has;
}

struct Case {
  const char* name;
  RunOptions (*options)(const TestFolder& folder);
  double tolerance;
};

RunOptions of_decoder(const TestFolder& folder, const std::string& config, bool train_rest) {
  const std::string base = folder.path() + "/base";
  const std::string sizes =
      R"("vocab_size":257,"hidden_size":32,"intermediate_size":40,"num_attention_heads":4,"num_hidden_layers":2)";
  write_model(base, *model_config_from_json(absl::StrCat("{", config, ",", sizes, "}"), "test", {}), 5);
  RunOptions o = adapted_run(folder, base, folder.path() + "/run");
  o.optimizer.lora->train_rest = train_rest;
  return o;
}

// fp32: rounding of the merged weights in two blocks. bf16: weights and what is merged are rounded to 8 bits, the
// folder's weights are not.
constexpr double kRounding = 1e-6;
constexpr double kBf16 = 2e-2;

const Case kCases[] = {
    {"tied",
     [](const TestFolder& f) { return of_decoder(f, R"("model_type":"llama","tie_word_embeddings":true)", false); },
     kRounding},
    {"tied_and_trained_whole",
     [](const TestFolder& f) { return of_decoder(f, R"("model_type":"llama","tie_word_embeddings":true)", true); },
     kRounding},
    {"biases_trained", [](const TestFolder& f) { return of_decoder(f, R"("model_type":"qwen2")", true); }, kRounding},
    {"norms_of_queries",
     [](const TestFolder& f) { return of_decoder(f, R"("model_type":"qwen3","head_dim":8)", true); }, kRounding},
    {"attention_alone",
     [](const TestFolder& f) {
       RunOptions o = of_decoder(f, R"("model_type":"mistral","num_key_value_heads":2)", true);
       o.optimizer.lora->target_mlp = false;
       return o;
     },
     kRounding},
    {"bf16",
     [](const TestFolder& f) {
       RunOptions o = of_decoder(f, R"("model_type":"llama")", false);
       o.weights = {DataType::kBFloat16, MasterWeights::kFp32};
       return o;
     },
     kBf16},
    {"bert", [](const TestFolder& f) { return adapted_classifier(f, f.path() + "/run"); }, kRounding},
    {"bert_mlp_alone",
     [](const TestFolder& f) {
       RunOptions o = adapted_classifier(f, f.path() + "/run");
       o.optimizer.lora->target_attention = false;
       return o;
     },
     kRounding},
    {"roberta",
     [](const TestFolder& f) {
       RunOptions o = adapted_classifier(f, f.path() + "/run");
       nlohmann::json json = nlohmann::json::parse(*read_file(o.model.source + "/config.json"));
       json["model_type"] = "roberta";
       json["architectures"] = {"RobertaForSequenceClassification"};
       json["pad_token_id"] = 0;
       write_model(o.model.source, *model_config_from_json(json.dump(), "test", {}), 8, "classifier");
       return o;
     },
     kRounding},
};

class Peft : public testing::TestWithParam<Case> {};

TEST_P(Peft, TheBaseWithTheAdapterGivesTheLogitsOfTheMergedCheckpoint) {
  if (!has_peft()) GTEST_SKIP() << python() << " has no torch, transformers and peft; GALLEON_PYTHON names another";
  TestFolder folder;
  const RunOptions o = GetParam().options(folder);
  const std::vector<RankOutcome> run = run_ranks(o, 2, folder.path() + "/out");
  ASSERT_TRUE(run[0].result.ok()) << run[0].result.status();
  const std::string step = o.checkpoint_folder + "/step-00000006";
  const int64_t vocabulary = o.data.classify ? 31 : 257;
  std::vector<float> ids;
  for (int i = 0; i < 2 * 9; ++i) ids.push_back(static_cast<float>((7 * i * i + 5 * i + 3) % vocabulary));
  ASSERT_TRUE(
      write_safetensors(step + "/inputs.safetensors", {{"ids", {2, 9}, [&] { return ids; }, "F32", {}}}, {}).ok());
  const std::string out = step + "/peft.txt";
  const int code =
      std::system(absl::StrCat("OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 ", python(), " ",
                               GALLEON_SOURCE_DIR "/tests/worker/engine/load_in_peft.py ", step, " >", out, " 2>&1")
                      .c_str());
  const std::string text = *read_file(out);
  ASSERT_EQ(code, 0) << text;
  std::map<std::string, std::string> said;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (words.size() == 2) said[words[0]] = words[1];
  }
  RecordProperty("difference", said["difference"]);
  EXPECT_LT(std::stod(said["difference"]), GetParam().tolerance) << text;
  EXPECT_GT(std::stod(said["alone"]), 5 * GetParam().tolerance) << text;
  EXPECT_EQ(said["names"], "same") << text;
}

INSTANTIATE_TEST_SUITE_P(All, Peft, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace galleon
