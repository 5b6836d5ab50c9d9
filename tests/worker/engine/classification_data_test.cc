// Rows with labels: GLUE's files, columns of one's own, what an encoder reads, and the official metrics.
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "tests/worker/engine/run_support.h"
#include "worker/engine/data/corpus.h"
#include "worker/engine/data/step_feed.h"
#include "worker/engine/run/evaluation.h"
#include "worker/engine/run/task_metrics.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A WordPiece folder of single letters, so that ids can be read: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, a 4, b 5, …
std::unique_ptr<Tokenizer> letters(const TestFolder& folder) {
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
  for (char c = 'a'; c <= 'z'; ++c) vocabulary += std::string(1, c) + "\n";
  EXPECT_TRUE(make_folders(folder.path() + "/tokenizer").ok());
  folder.write("tokenizer/vocab.txt", vocabulary);
  return *open_tokenizer(folder.path() + "/tokenizer");
}

class LabelledRows : public testing::Test {
 protected:
  CorpusRequest request(const std::string& file, const std::string& task) {
    CorpusRequest r;
    r.options.train = r.globs = {file};
    r.options.classify = true;
    r.options.format = "tsv";
    r.options.glue_task = task;
    r.options.sequence_length = 8;
    r.options.shuffle = false;
    r.key = "data.train";
    r.tokenizer = tokenizer_.get();
    r.vocabulary = 30;
    r.folder = folder_.path() + "/data";
    r.name = "train";
    return r;
  }
  absl::Status open(CorpusRequest r) {
    absl::StatusOr<LabelSet> labels = find_labels(r.options);
    if (!labels.ok()) return labels.status();
    r.labels = *labels;
    absl::StatusOr<std::unique_ptr<Corpus>> corpus = Corpus::make(r);
    if (!corpus.ok()) return corpus.status();
    corpus_ = *std::move(corpus);
    absl::StatusOr<StoreProgress> all = corpus_->wait_for_start();
    rows_ = all.ok() ? all->sequences : 0;
    return all.status();
  }
  Sequence row(int64_t i) {
    Sequence s;
    EXPECT_TRUE(corpus_->store().read(i, s).ok());
    return s;
  }
  std::string error_of(const CorpusRequest& r) { return std::string(open(r).message()); }

  TestFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_ = letters(folder_);
  std::unique_ptr<Corpus> corpus_;
  int64_t rows_ = 0;
};

TEST_F(LabelledRows, AreTheSameInTsvCsvAndJson) {
  const struct {
    const char* name;
    const char* content;
    const char* format = "auto";
  } cases[] = {
      {"a.tsv", "label\tid\tsentence\nyes\t1\ta b\nno\t2\tc, d\n"},
      {"a.csv", "\xEF\xBB\xBFsentence,id,label\r\n\"a b\",1,yes\r\n\"c, d\",2, no\r\n"},
      {"a.txt", "sentence,label\na b,yes\n\"c, d\",no\n", "csv"},
      {"a.jsonl",
       "{\"sentence\": \"a b\", \"label\": \"yes\"}\n\n{\"label\": \"no\", \"sentence\": \"c, d\", \"n\": null}\n"},
      {"lines", "{\"sentence\": \"a b\", \"label\": \"yes\"}\n{\"label\": \"no\", \"sentence\": \"c, d\"}\n"},
      {"a.json", "[{\"sentence\": \"a b\", \"label\": \"yes\"},\n{\"label\": \"no\", \"sentence\": \"c, d\"}]"},
  };
  for (const auto& c : cases) {
    CorpusRequest r = request(folder_.write(c.name, c.content), "");
    r.options.format = c.format;
    const absl::Status opened = open(r);
    ASSERT_TRUE(opened.ok()) << c.name << " " << opened;
    ASSERT_EQ(rows_, 2) << c.name;
    EXPECT_THAT(row(0).ids, ElementsAre(2, 4, 5, 3)) << c.name;
    EXPECT_THAT(row(1).ids, ElementsAre(2, 6, 1, 7, 3)) << c.name;
    EXPECT_EQ(row(0).label, 1) << c.name << ": no, yes";
    EXPECT_EQ(row(1).label, 0) << c.name;
  }
  // Labels of JSON may be numbers.
  CorpusRequest numbers = request(
      folder_.write("n.jsonl", "{\"sentence\": \"a\", \"label\": 2}\n{\"sentence\": \"b\", \"label\": 0}\n"), "");
  numbers.options.format = "auto";
  ASSERT_TRUE(open(numbers).ok());
  EXPECT_EQ(row(0).label, 2);
  // GLUE's columns by their names.
  CorpusRequest pairs = request(folder_.write("rte.csv", "sentence1,sentence2,label\na,b,entailment\n"), "rte");
  pairs.options.format = "auto";
  ASSERT_TRUE(open(pairs).ok());
  EXPECT_THAT(row(0).ids, ElementsAre(2, 4, 3, 5, 3));
}

TEST_F(LabelledRows, WhatIsWrongInCsvAndJsonIsNamedWithFileAndLine) {
  const struct {
    const char* name;
    const char* content;
    const char* task;
    const char* error;
  } cases[] = {
      {"a.csv", "text,label\na,yes\n", "", "a.csv:1: there is no column \"sentence\"; there are: text, label"},
      {"b.csv", "sentence,label\na,yes\nb\n", "", "b.csv:3: 1 cell, and the header has 2"},
      {"c.csv", "sentence,label\na,yes\nb,\n", "", "c.csv:3: the label is empty"},
      {"d.csv", "sentence,label\na,1\nb,nan\n", "", "d.csv:3: the label is nan"},
      {"e.csv", "sentence,label\na,entailment\n", "rte", "e.csv:1: there is no column \"sentence1\""},
      {"f.csv", "a,b\na,1\n", "cola", "f.csv is no TSV file; the columns of this data.glue_task have no names"},
      {"a.jsonl", "{\"text\": \"a\", \"label\": 1}\n", "",
       "a.jsonl:1: there is no field \"sentence\"; there are: text, label"},
      {"b.jsonl", "{\"sentence\": 7, \"label\": 1}\n", "", "b.jsonl:1: \"sentence\" is of type number and no text"},
      {"c.jsonl", "{\"sentence\": \"a\", \"label\": true}\n", "",
       "c.jsonl:1: the label is of type boolean; a number or"},
      {"d.jsonl", "{\"sentence\": \"a\", \"label\": 1}\nx\n", "", "d.jsonl:2: not a JSON object"},
  };
  for (const auto& c : cases) {
    CorpusRequest r = request(folder_.write(c.name, c.content), c.task);
    r.options.format = "auto";
    EXPECT_THAT(error_of(r), HasSubstr(c.error));
  }
  CorpusRequest skipping = request(folder_.write("s.csv", "sentence,label\na,yes\nb\nc,no\nd,\n"), "");
  skipping.options.format = "auto";
  skipping.options.skip_bad_rows = true;
  ASSERT_TRUE(open(skipping).ok());
  EXPECT_EQ(rows_, 2);
  EXPECT_EQ(corpus_->store().bad_rows(), 2);
}

TEST_F(LabelledRows, EachGlueTaskReadsItsOwnColumnsAndLabels) {
  struct Case {
    const char* task;
    const char* file;
    std::vector<float> labels;
    std::vector<int32_t> first;  // ids of the first row
    int32_t second;
  };
  const std::string mnli =
      "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
      "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n";
  const std::string mnli_rows =
      mnli +
      "0\t1\t2\tg\tp\tp\tp\tp\ta\tb\tneutral\tcontradiction\n"
      "1\t1\t2\tg\tp\tp\tp\tp\ta\tb\tneutral\tentailment\n2\t1\t2\tg\tp\tp\tp\tp\ta\tb\tx\tneutral\n";
  const std::vector<Case> cases = {
      {"cola", "gj04\t1\t\ta b\nks08\t0\t*\tc\n", {1, 0}, {2, 4, 5, 3}, 4},
      {"sst2", "sentence\tlabel\na \t1\nb\t0\r\n", {1, 0}, {2, 4, 3}, 3},
      {"mrpc",
       "\xEF\xBB\xBFQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\t\"a b\tc\n",
       {1},
       {2, 1, 4, 5, 3, 6, 3},
       5},
      {"stsb", "index\tgenre\tscore\tsentence1\tsentence2\n0\tg\t3.750\ta\tb\n", {3.75F}, {2, 4, 3, 5, 3}, 3},
      {"qqp",
       "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\n1\t2\t3\ta\tb\t1\n",
       {1},
       {2, 4, 3, 5, 3},
       3},
      {"mnli", mnli_rows.c_str(), {2, 0, 1}, {2, 4, 3, 5, 3}, 3},
      {"qnli", "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n", {1}, {2, 4, 3, 5, 3}, 3},
      {"rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n", {0}, {2, 4, 3, 5, 3}, 3},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.task);
    ASSERT_TRUE(open(request(folder_.write(absl::StrCat(c.task, ".tsv"), c.file), c.task)).ok());
    ASSERT_EQ(rows_, static_cast<int64_t>(c.labels.size()));
    for (int64_t i = 0; i < rows_; ++i) EXPECT_EQ(row(i).label, c.labels[i]);
    EXPECT_EQ(row(0).ids, c.first);
    EXPECT_EQ(row(0).second, c.second);
    EXPECT_TRUE(row(0).targets.empty());
    if (std::string(c.task) == "qqp") {
      EXPECT_THAT(corpus_->store().notes(), ElementsAre(HasSubstr("qqp.tsv:2, which has too few columns")));
    }
  }
}

TEST_F(LabelledRows, ABatchCarriesLengthsTokenTypesAndLabels) {
  CorpusRequest r = request(folder_.write("t.tsv", "x\ty\tz\na b c d e f g\th i\t1.5\na\tb\t0.5\n"), "");
  r.options.text_columns = {"x", "y"};
  r.options.label_column = "z";
  ASSERT_TRUE(open(r).ok());
  FeedShape shape;
  shape.global_batch = shape.micro_batch = 2;
  shape.sequence_length = 8;
  StepFeed feed(TrainingOrder(corpus_->store(), corpus_->order()), shape, 1, 1);
  absl::StatusOr<StepData> step = feed.next();
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(step->targets, 2);
  const Batch& batch = step->passes[0];
  EXPECT_EQ(batch.length, 8);
  EXPECT_THAT(batch.lengths, ElementsAre(8, 5));
  // Five tokens of nine have room: the longer text gives way.
  EXPECT_THAT(batch.ids, ElementsAre(2, 4, 5, 6, 3, 11, 12, 3, 2, 4, 3, 5, 3, 0, 0, 0));
  EXPECT_THAT(batch.token_types, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0));
  EXPECT_THAT(batch.labels, ElementsAre(1.5F, 0.5F));
  EXPECT_TRUE(batch.targets.empty());
}

TEST_F(LabelledRows, TheFolderSaysWhichEndOfALongTextIsCut) {
  CorpusRequest r = request(folder_.write("t.tsv", "x\ty\tz\na b c d e f g\th i\t1.5\n"), "");
  r.options.text_columns = {"x", "y"};
  r.options.label_column = "z";
  ASSERT_TRUE(open(r).ok());
  const std::string right = corpus_->fingerprint();
  EXPECT_THAT(row(0).ids, ElementsAre(2, 4, 5, 6, 3, 11, 12, 3));
  folder_.write("tokenizer/tokenizer_config.json", R"({"truncation_side": "left"})");
  tokenizer_ = *open_tokenizer(folder_.path() + "/tokenizer");
  r.tokenizer = tokenizer_.get();
  ASSERT_TRUE(open(r).ok());
  EXPECT_NE(corpus_->fingerprint(), right);
  EXPECT_THAT(row(0).ids, ElementsAre(2, 8, 9, 10, 3, 11, 12, 3)) << "e f g, as transformers cuts";
}

TEST_F(LabelledRows, WhatIsWrongIsNamedWithFileAndLine) {
  const std::string head = "sentence\tlabel\n";
  EXPECT_THAT(error_of(request(folder_.write("a.tsv", head + "a\t1\nb\n"), "sst2")),
              HasSubstr("data.train: " + folder_.path() + "/a.tsv:3: 1 column, and at least 2 are needed"));
  EXPECT_THAT(error_of(request(folder_.write("b.tsv", head + "a\t1\n\nb\t2\n"), "sst2")),
              HasSubstr("b.tsv:4: the label \"2\" is unknown; known are: 0, 1"));
  EXPECT_THAT(error_of(request(folder_.write("c.tsv", "text\tlabel\na\t1\n"), "sst2")),
              HasSubstr("c.tsv:1: there is no column \"sentence\"; there are: text, label"));
  EXPECT_THAT(error_of(request(folder_.write("d.tsv", "sentence1\tsentence2\tscore\na\tb\thigh\n"), "stsb")),
              HasSubstr("d.tsv:2: the label \"high\" is not a number"));
  tokenizer_ = *open_tokenizer("bytes");
  EXPECT_THAT(error_of(request(folder_.write("e.tsv", head + "a\t1\n"), "sst2")), HasSubstr("[CLS] and [SEP]"));
}

TEST_F(LabelledRows, LabelsOfOnesOwnColumnsAreNumbersOfClassesOrWordsOrARegression) {
  const auto labels = [&](const std::string& rows) {
    DataOptions options;
    options.train = {folder_.write("own.tsv", "sentence\tlabel\n" + rows)};
    return find_labels(options);
  };
  EXPECT_THAT(labels("a\t2\nb\t0\n")->names, ElementsAre("0", "1", "2"));
  EXPECT_THAT(labels("a\tspam\nb\tham\n")->names, ElementsAre("ham", "spam"));
  EXPECT_TRUE(labels("a\t0\nb\t0.5\nc\t-3\n")->regression);
  EXPECT_THAT(std::string(labels("a\tspam\n").status().message()), HasSubstr("every label is \"spam\""));
  EXPECT_THAT(std::string(labels("a\n").status().message()), HasSubstr("own.tsv:2: 1 column, and at least 2"));
  EXPECT_THAT(labels("a\t1\nb\t-1\n")->names, ElementsAre("-1", "1"));
  EXPECT_THAT(labels("\"a\tb\"\tpos\nc\tneg\n")->names, ElementsAre("neg", "pos"));
  EXPECT_THAT(std::string(labels("a\tb\tpos\nc\tneg\n").status().message()),
              HasSubstr("own.tsv:2: 3 columns, and the header has 2"));
  EXPECT_THAT(std::string(labels("a\t1\nb\t\n").status().message()), HasSubstr("own.tsv:3: the label is empty"));
}

TEST_F(LabelledRows, RobertaHasTwoSeparatorsBetweenTextsAndNoTypes) {
  const char* data = GALLEON_SOURCE_DIR "/../shared/data/tokenizers/roberta";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no ../shared/data/tokenizers beside the project";
  tokenizer_ = *open_tokenizer(data);
  CorpusRequest r = request(folder_.write("t.tsv", "sentence1\tsentence2\tscore\nHello\tHello\t1\n"), "stsb");
  r.vocabulary = 50265;
  ASSERT_TRUE(open(r).ok());
  EXPECT_THAT(row(0).ids, ElementsAre(0, 31414, 2, 2, 31414, 2));
  EXPECT_EQ(row(0).second, 6);
}

// Row counts of the official files, but one of MRPC, whose train.tsv here lacks a row; they are beside the project or
// the test is skipped.
TEST_F(LabelledRows, GluesOwnFilesAreReadToTheLastRow) {
  const std::string data = GALLEON_SOURCE_DIR "/../shared/data/glue";
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no ../shared/data/glue beside the project";
  const std::tuple<const char*, const char*, int64_t, int64_t> sets[] = {{"SST-2", "sst2", 67349, 872},
                                                                         {"CoLA", "cola", 8551, 1043},
                                                                         {"MRPC", "mrpc", 3667, 408},
                                                                         {"RTE", "rte", 2490, 277},
                                                                         {"STS-B", "stsb", 5749, 1500}};
  for (const auto& [set, task, train, dev] : sets) {
    SCOPED_TRACE(set);
    EXPECT_EQ(error_of(request(absl::StrCat(data, "/", set, "/train.tsv"), task)), "");
    EXPECT_EQ(rows_, train);
    EXPECT_EQ(error_of(request(absl::StrCat(data, "/", set, "/dev.tsv"), task)), "");
    EXPECT_EQ(rows_, dev);
  }
}

TEST(TaskMetrics, AreThoseOfScikitLearnAndScipy) {
  std::ifstream file(GALLEON_SOURCE_DIR "/tests/fixtures/task_metrics.json");
  const nlohmann::json recorded = nlohmann::json::parse(file);
  for (const nlohmann::json& c : recorded["classes"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto predicted = c["predicted"].get<std::vector<int>>();
    const auto truth = c["truth"].get<std::vector<int>>();
    EXPECT_NEAR(accuracy(predicted, truth), c["accuracy"].get<double>(), 1e-12);
    EXPECT_NEAR(matthews_correlation(predicted, truth), c["matthews_correlation"].get<double>(), 1e-12);
    if (c.contains("f1")) {
      EXPECT_NEAR(f1(predicted, truth), c["f1"].get<double>(), 1e-12);
    }
  }
  for (const nlohmann::json& c : recorded["values"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto predicted = c["predicted"].get<std::vector<double>>();
    const auto truth = c["truth"].get<std::vector<double>>();
    EXPECT_NEAR(pearson(predicted, truth), c["pearson"].get<double>(), 1e-12);
    EXPECT_NEAR(spearman(predicted, truth), c["spearman"].get<double>(), 1e-12);
  }
}

TEST(TaskMetrics, MismatchedFilesOfMnliAreCountedApart) {
  const LabelSet labels{{"entailment", "neutral", "contradiction"}, false};
  const std::vector<InputFile> files = {{"/mnli/dev_matched.tsv"}, {"/mnli/dev_mismatched.tsv"}};
  const std::vector<TaskAnswer> answers = {{{1, 0, 0}, 0, 0}, {{1, 0, 0}, 1, 0}, {{0, 0, 1}, 2, 1},
                                           {{0, 5, 1}, 1, 1}, {{0, 5, 1}, 2, 1}, {{9, 5, 1}, 0, 1}};
  const TaskScore score = task_score(answers, labels, {"accuracy"}, files);
  EXPECT_EQ(score.metrics.size(), 2U);
  EXPECT_DOUBLE_EQ(score.metrics.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(score.metrics.at("accuracy_mismatched"), 0.75);
}

// Answers by a rule that a test can follow: the logits of a row come from its first letter.
class FirstLetter final : public Model {
 public:
  explicit FirstLetter(const ModelConfig& config) : Model(config, 2, 8) {}
  double forward_backward(const Batch&, float, GradientSink&, const PassPlace&) override { return 0; }
  double forward_loss(const Batch&) override { return 0; }
  std::vector<float> outputs(const Batch& batch) override {
    std::vector<float> values;
    for (int64_t row = 0; row < batch.sequences; ++row) {
      const int32_t letter = batch.ids[row * batch.length + 1] - 4;
      values.push_back(0);
      values.push_back(static_cast<float>(letter));
    }
    return values;
  }
};

TEST_F(LabelledRows, AnEvaluationIsTheMeanOverRowsWithTheTasksMetric) {
  // Letter a gives logits (0, 0), and the first of equal ones is taken; b gives (0, 1).
  ASSERT_TRUE(open(request(folder_.write("e.tsv", "sentence\tlabel\na\t0\nb\t1\na\t1\nb b\t0\nb\t1\n"), "sst2")).ok());
  FirstLetter model(ModelConfig{});
  std::unique_ptr<Device> device = make_cpu_device(1);
  std::unique_ptr<Communicator> alone = make_single_communicator(*device);
  const LabelSet labels{{"0", "1"}, false};
  absl::StatusOr<EvaluationLine> line = evaluate_labels(model, *corpus_, labels, {"accuracy"}, 0, 0, *alone, 3);
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_DOUBLE_EQ(line->metrics.at("accuracy"), 0.6);
  const double right = std::log1p(std::exp(-1.0));
  EXPECT_NEAR(line->validation_loss, (2 * std::log(2.0) + 2 * right + right + 1) / 5, 1e-6);
  EXPECT_EQ(line->validation_tokens, 3 * 4 + 4);
}

}  // namespace
}  // namespace galleon
