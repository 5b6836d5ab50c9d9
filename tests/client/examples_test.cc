// The job files under deploy/examples, each started on small data in the layout that it expects, and what evaluates
// their models afterwards.
#include <zlib.h>

#include "absl/strings/str_replace.h"
#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using testing::HasSubstr;

const char* const kExamples = GALLEON_SOURCE_DIR "/deploy/examples/";
const char* const kTokenizer = GALLEON_SOURCE_DIR "/deploy/examples/janeausten/tokenizer.model";

class Examples : public GalleonProgram {
 protected:
  void write(const std::string& name, const std::string& content) {
    const std::string path = folder_ + "/" + name;
    ASSERT_TRUE(make_folders(std::filesystem::path(path).parent_path().string()).ok());
    ASSERT_TRUE(write_file_atomically(path, content).ok());
  }
  // The example beside the data of the test, shortened where `changes` say.
  std::string example(const std::string& name, const std::vector<std::pair<std::string, std::string>>& changes) {
    std::string text = *read_file(kExamples + name);
    for (const auto& [from, to] : changes) {
      EXPECT_NE(text.find(from), std::string::npos) << from;
      text = absl::StrReplaceAll(text, {{from, to}});
    }
    const std::string path = folder_ + "/" + std::filesystem::path(name).filename().string();
    EXPECT_TRUE(write_file_atomically(path, text).ok());
    return path;
  }
  // The evaluations of a run, step by step.
  static std::vector<nlohmann::json> evaluations(const std::string& output) {
    std::vector<nlohmann::json> found;
    const std::string text = read_file(output + "/metrics.jsonl").value_or("");
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      nlohmann::json json = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
      if (json.contains("validation_loss")) found.push_back(std::move(json));
    }
    return found;
  }
  std::string last_checkpoint(const std::string& output) {
    const std::vector<std::string> all = checkpoints(output);
    return all.empty() ? "" : output + "/checkpoints/" + all.back();
  }
  nlohmann::json evaluated(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "evaluate");
    arguments.push_back("--json");
    const CommandResult result = galleon(arguments);
    EXPECT_EQ(result.exit.code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  }
  // Trains a job for one step, and makes its checkpoint the folder `model`.
  void make_model(const std::string& yaml) {
    write("base.yaml", yaml);
    const CommandResult result = galleon({"train", folder_ + "/base.yaml", "--output", folder_ + "/base"});
    ASSERT_EQ(result.exit.code, 0) << result.err;
    std::filesystem::rename(last_checkpoint(folder_ + "/base"), folder_ + "/model");
  }
  // Shards of C4 as they are published, and a tokenizer beside them.
  void write_shards() {
    std::string line = "{\"text\": \"";
    for (int i = 0; i < 300; ++i) line += i % 3 == 0 ? "The sea was calm. " : "Ships went on their way. ";
    line += "\", \"timestamp\": \"2019-04-25T12:57:54Z\", \"url\": \"http://localhost/\"}\n";
    for (const char* name : {"c4-train.00000-of-00002", "c4-train.00001-of-00002", "c4-validation.00000-of-00001"}) {
      gzFile file = gzopen((folder_ + "/" + name + ".json.gz").c_str(), "wb");
      for (int i = 0; i < 8; ++i) gzwrite(file, line.data(), static_cast<unsigned>(line.size()));
      gzclose(file);
    }
    std::filesystem::copy(kTokenizer, folder_ + "/tokenizer.model");
  }
  void make_encoder(int labels) {
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n";
    write("shape/vocab.txt", vocabulary);
    write("shape/config.json", R"({"model_type": "bert", "vocab_size": 31, "hidden_size": 16, "intermediate_size": 24,
      "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 128})");
    std::string rows = "sentence\tlabel\n";
    for (int i = 0; i < 3 * labels; ++i) absl::StrAppend(&rows, "a b\t", i % labels, "\n");
    write("rows.tsv", rows);
    make_model(
        "name: base\ntask: classify\nmodel: {source: shape, init: random}\ntokenizer: shape\n"
        "data: {train: [rows.tsv], sequence_length: 16}\ntraining: {steps: 1, global_batch: 2, micro_batch: 2}\n");
  }
};

TEST_F(Examples, GlueMrpcWithGalore) {
  make_encoder(2);
  const std::string header = "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n";
  std::string rows;
  for (int i = 0; i < 48; ++i)
    absl::StrAppend(&rows, i % 2, "\t1\t2\tA sentence ", i, "\t", i % 2 == 0 ? "Another " : "A sentence ", i, "\n");
  write("MRPC/train.tsv", header + rows);
  write("MRPC/dev.tsv", header + rows);
  const std::string job = example("glue/mrpc-galore.yaml", {});
  const std::string output = folder_ + "/run";
  const CommandResult result = galleon({"train", job, "--output", output});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  ASSERT_EQ(losses(output).rbegin()->first, 9) << "three epochs of 48 rows, 16 a step";
  const nlohmann::json last = evaluations(output).back();
  ASSERT_TRUE(last["metrics"].contains("accuracy") && last["metrics"].contains("f1"));

  // What the run said of its last weights is what anybody finds in its checkpoint.
  const nlohmann::json again = evaluated({"--model", last_checkpoint(output), "--data", folder_ + "/MRPC/dev.tsv",
                                          "--glue-task", "mrpc", "--sequence-length", "128"});
  EXPECT_NEAR(again["loss"].get<double>(), last["validation_loss"].get<double>(), 1e-6);
  EXPECT_EQ(again["metrics"], last["metrics"]);
  EXPECT_FALSE(again.contains("perplexity"));

  // What is wrong with the rows is said before any step.
  for (const auto& [row, reason] :
       {std::pair("2\t1\t2\ta\tb\n", "MRPC/train.tsv:50: the label \"2\" is unknown; known are: 0, 1"),
        std::pair("1\t1\t2\ta\n", "MRPC/train.tsv:50: 4 columns, and at least 5 are needed")}) {
    write("MRPC/train.tsv", header + rows + row);
    const CommandResult bad = galleon({"train", job, "--output", folder_ + "/bad"});
    EXPECT_NE(bad.exit.code, 0);
    EXPECT_THAT(bad.err, HasSubstr(reason));
    EXPECT_EQ(std::count(bad.err.begin(), bad.err.end(), '\n'), 1) << bad.err;
    EXPECT_TRUE(losses(folder_ + "/bad").empty());
  }
}

TEST_F(Examples, GlueMnliCountsMismatchedRowsApart) {
  make_encoder(3);
  const char* labels[] = {"entailment", "neutral", "contradiction"};
  std::string text = "index\tsentence1\tsentence2\tgold_label\n";
  for (int i = 0; i < 64; ++i) absl::StrAppend(&text, i, "\tA sentence\tAnother\t", labels[i % 3], "\n");
  for (const char* name : {"train", "dev_matched", "dev_mismatched"}) write(absl::StrCat("MNLI/", name, ".tsv"), text);
  const std::string output = folder_ + "/run";
  const CommandResult result = galleon({"train", example("glue/mnli.yaml", {}), "--output", output});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  const nlohmann::json metrics = evaluations(output).back()["metrics"];
  EXPECT_TRUE(metrics.contains("accuracy") && metrics.contains("accuracy_mismatched")) << metrics;
}

TEST_F(Examples, QuestionsAndAnswers) {
  make_model(absl::StrCat("name: base\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: ", kTokenizer,
                          "\ndata: {train: [text.txt], sequence_length: 256}\n"
                          "training: {steps: 1, global_batch: 2, micro_batch: 2}\n"));
  std::string lines;
  for (int i = 0; i < 32; ++i)
    absl::StrAppend(&lines, "{\"question\": \"What of ", i, "?\", \"answer\": \"It is ", i + 1, ".\"}\n");
  write("train.jsonl", lines);
  write("test.jsonl", lines);
  const std::string output = folder_ + "/run";
  const CommandResult result = galleon({"train", example("sft/questions.yaml", {}), "--output", output});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_EQ(losses(output).rbegin()->first, 4);
  const nlohmann::json last = evaluations(output).back();
  // Answers have some six tokens of some twenty.
  EXPECT_LT(last["validation_tokens"].get<int64_t>(), 32 * 12);
  const nlohmann::json again =
      evaluated({"--model", last_checkpoint(output), "--data", folder_ + "/test.jsonl", "--format", "chat",
                 "--chat-template", "preset:plain", "--sequence-length", "256"});
  EXPECT_NEAR(again["loss"].get<double>(), last["validation_loss"].get<double>(), 1e-6);
  EXPECT_EQ(again["tokens"], last["validation_tokens"]);
  EXPECT_NEAR(again["perplexity"].get<double>(), std::exp(again["loss"].get<double>()), 1e-6);
}

TEST_F(Examples, C4Shards) {
  write_shards();
  const std::string output = folder_ + "/run";
  const CommandResult result = galleon({"train",
                                        example("c4/llama-60m.yaml", {{"preset:llama-60m", "preset:tiny"},
                                                                      {"steps: 10000", "steps: 2"},
                                                                      {"warmup_steps: 1000", "warmup_steps: 1"},
                                                                      {"global_batch: 512", "global_batch: 4"},
                                                                      {"micro_batch: 128", "micro_batch: 2"}}),
                                        "--output", output});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_EQ(losses(output).size(), 2U);
  EXPECT_EQ(evaluations(output).size(), 1U) << "the last step has one";
}

TEST_F(Examples, SevenBillionParametersFitOneCardOf24GB) {
  write_shards();
  const std::pair<std::string, std::string> vocabulary{"{source: \"preset:llama-7b\"}",
                                                       "{source: \"preset:llama-7b\", overrides: {vocab_size: 32000}}"};
  CommandResult result = galleon({"plan", example("llama-7b-24gb.yaml", {vocabulary}), "-o", "json"});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  nlohmann::json plan = nlohmann::json::parse(result.out, nullptr, false);
  const auto number = [](const nlohmann::json& value) { return std::stoull(value.get<std::string>()); };
  EXPECT_EQ(plan["device"], "cuda") << "planned for a GPU on any machine";
  EXPECT_LE(number(plan["ranks"][0]["peak_bytes"]), 20'500'000'000U) << "the example's comment says 20.5 GB";
  EXPECT_LE(number(plan["required_bytes"]), number(plan["available_bytes"]));
  EXPECT_LT(number(plan["ranks"][0]["memory"]["gradients"]), 100'000'000U) << "no dense gradient is ever whole";

  // What accumulation would need is more than the limit, and the plan says so.
  result = galleon(
      {"plan", example("llama-7b-24gb.yaml", {vocabulary, {"global_batch: 16", "global_batch: 32"}}), "-o", "json"});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  plan = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_GT(number(plan["required_bytes"]), number(plan["available_bytes"]));
}

TEST_F(Examples, APresetIsPlannedBeforeItsTokenizerAndDataAreThere) {
  const std::string job = absl::StrCat(kExamples, "llama-7b-24gb.yaml");
  const CommandResult result = galleon({"plan", job, "-o", "json"});
  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(
      result.err,
      testing::AllOf(HasSubstr("tokenizer.model does not exist; planned with the vocabulary of preset:llama-7b, 32000"),
                     HasSubstr("data.train"), HasSubstr("planned without what reading it takes")));
  const nlohmann::json plan = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_LE(std::stoull(plan["ranks"][0]["peak_bytes"].get<std::string>()), 20'500'000'000U);
  // A run, and a job that is submitted, need them.
  EXPECT_EQ(galleon({"train", job, "--output", folder_ + "/run"}).exit.code, 1);
}

}  // namespace
}  // namespace galleon
