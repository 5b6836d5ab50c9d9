// Labels and pairs: which name of a model is which of the data, and what stands around two texts.
#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "tests/worker/engine/labelled_letters.h"
#include "worker/engine/data/label_order.h"
#include "worker/engine/data/pair_layout.h"
#include "worker/engine/run/resolved_job.h"
#include "worker/engine/run/task_metrics.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(LabelOrder, AModelsNamesAreFoundInAnyCapitalsWhereThatLeavesNoDoubt) {
  struct Case {
    const char* task;
    std::vector<std::string> data, model;
    const char* ordered;  // "": none
  };
  const Case cases[] = {
      {"mnli",
       {"entailment", "neutral", "contradiction"},
       {"CONTRADICTION", "NEUTRAL", "ENTAILMENT"},
       "contradiction neutral entailment"},
      {"mnli",
       {"entailment", "neutral", "contradiction"},
       {"contradiction", "entailment", "neutral"},
       "contradiction entailment neutral"},
      {"rte", {"entailment", "not_entailment"}, {"Not-Entailment", "Entailment"}, "not_entailment entailment"},
      {"sst2", {"0", "1"}, {"POSITIVE", "NEGATIVE"}, "1 0"},
      {"mrpc", {"0", "1"}, {"not_equivalent", "equivalent"}, "0 1"},
      {"sst2", {"0", "1"}, {"1", "0"}, "1 0"},
      {"sst2", {"0", "1"}, {"bad", "good"}, ""},
      {"", {"0", "1"}, {"POSITIVE", "NEGATIVE"}, ""},
      {"mnli", {"entailment", "neutral", "contradiction"}, {"yes", "maybe", "no"}, ""},
      {"", {"a", "b"}, {"A", "a"}, ""},
      {"", {"a", "A"}, {"A", "a"}, "A a"},
      {"", {"a", "b"}, {"b"}, ""},
      {"", {"a", "b"}, {}, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.task, ": ", absl::StrJoin(c.model, " ")));
    const std::optional<LabelSet> found = in_models_order({c.data, false}, c.model, c.task);
    EXPECT_EQ(found.has_value() ? absl::StrJoin(found->names, " ") : "", c.ordered);
  }
}

TEST(LabelOrder, ALabelMayHaveOtherCapitals) {
  const LabelSet labels{{"CONTRADICTION", "NEUTRAL", "ENTAILMENT"}, false};
  EXPECT_EQ(*label_value(labels, "entailment", "f.tsv", 2), 2);
  EXPECT_THAT(std::string(label_value(labels, "other", "f.tsv", 2).status().message()),
              HasSubstr("f.tsv:2: the label \"other\" is unknown; known are: CONTRADICTION"));
  const LabelSet alike{{"Yes", "YES"}, false};
  EXPECT_EQ(*label_value(alike, "YES", "f.tsv", 2), 1);
  EXPECT_FALSE(label_value(alike, "yes", "f.tsv", 2).ok());
}

TEST(LabelOrder, LabelsThatSayNothingAreRefused) {
  const TestFolder folder;
  const auto error = [&](const std::string& rows) {
    DataOptions options;
    options.train = {folder.write("own.tsv", "sentence\tlabel\n" + rows)};
    return std::string(find_labels(options).status().message());
  };
  EXPECT_EQ(error("a\t1.0\nb\t-1.0\n"), "");
  EXPECT_THAT(error("a\tx\nb\t\n"), HasSubstr("own.tsv:3: the label is empty"));
  EXPECT_THAT(error("a\t1\nb\tnan\n"), HasSubstr("own.tsv:3: the label is nan"));
}

TEST(LabelOrder, WholeNumbersBelowZeroAreClassesInTheirOrder) {
  const TestFolder folder;
  DataOptions options;
  options.train = {folder.write("own.tsv", "sentence\tlabel\na\t1\nb\t-1\n")};
  const absl::StatusOr<LabelSet> labels = find_labels(options);
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_EQ(labels->names, (std::vector<std::string>{"-1", "1"}));
  EXPECT_FALSE(labels->regression);
}

TEST(LabelOrder, F1CountsTheLabel1WhereverTheModelHasIt) {
  // Of three rows the first two are of label 1, and the model says so of the first and the last.
  const auto answers = [](int one) {
    std::vector<TaskAnswer> all;
    for (const auto& [truth, said] : {std::pair(1, 1), std::pair(1, 0), std::pair(0, 1)}) {
      TaskAnswer answer;
      answer.outputs = said == 1 ? (one == 1 ? std::vector<float>{0, 1} : std::vector<float>{1, 0})
                                 : (one == 1 ? std::vector<float>{1, 0} : std::vector<float>{0, 1});
      answer.label = static_cast<float>(truth == 1 ? one : 1 - one);
      all.push_back(answer);
    }
    return all;
  };
  EXPECT_EQ(task_score(answers(1), {{"0", "1"}, false}, {"f1"}, {}).metrics["f1"], 0.5);
  EXPECT_EQ(task_score(answers(0), {{"1", "0"}, false}, {"f1"}, {}).metrics["f1"], 0.5);
}

class LabelsOfAFolder : public testing::Test {
 protected:
  // A folder with names of labels, whose classifier is pretrained unless it is told otherwise.
  absl::StatusOr<ResolvedJob> resolve(const std::string& id2label, const std::string& rows) {
    RunOptions o = classification(folder_);
    nlohmann::json config = nlohmann::json::parse(*read_file(o.model.source + "/config.json"));
    if (!id2label.empty()) config["id2label"] = nlohmann::json::parse(id2label);
    folder_.write("model/config.json", config.dump());
    o.model.overrides = overrides_;
    o.data.glue_task = task_;
    o.data.train = {folder_.write("rows.tsv", rows)};
    o.model.pretrained = false;  // no weights are looked for; the names are asked for by an override
    if (!id2label.empty()) o.model.overrides.emplace_back("id2label", id2label);
    return resolve_job(o);
  }
  TestFolder folder_;
  std::string task_;
  std::vector<std::pair<std::string, std::string>> overrides_;
};

TEST_F(LabelsOfAFolder, KeepTheirNamesAndTheirOrder) {
  const std::string rows = "sentence\tlabel\na\tham\nb\tspam\n";
  const std::string numbers = "sentence\tlabel\na\t0\nb\t1\n";
  absl::StatusOr<ResolvedJob> job = resolve("", rows);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.label_names, ElementsAre("ham", "spam"));
  job = resolve(R"({"0": "SPAM", "1": "HAM"})", rows);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.label_names, ElementsAre("SPAM", "HAM"));
  EXPECT_THAT(job->labels.names, ElementsAre("spam", "ham"));
  job = resolve(R"({"0": "good", "1": "bad"})", numbers);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->config.label_names, ElementsAre("good", "bad"));
  EXPECT_THAT(job->labels.names, ElementsAre("0", "1"));
  task_ = "sst2";
  job = resolve(R"({"0": "POSITIVE", "1": "NEGATIVE"})", numbers);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->labels.names, ElementsAre("1", "0"));
}

TEST_F(LabelsOfAFolder, WhatTheJobAsksForIsNotReplacedByTheDatas) {
  const std::string rows = "sentence\tlabel\na\tham\nb\tspam\n";
  EXPECT_THAT(std::string(resolve(R"({"0": "yes", "1": "no"})", rows).status().message()),
              HasSubstr("model.overrides.id2label names yes, no, and the labels of data.train are ham, spam"));
  overrides_ = {{"num_labels", "3"}};
  EXPECT_THAT(std::string(resolve("", rows).status().message()),
              HasSubstr("model.overrides.num_labels 3: the labels of data.train make 2"));
}

TEST(LabelOrder, ALabel2idThatSaysSomethingElseIsRefused) {
  const TestFolder folder;
  nlohmann::json config = nlohmann::json::parse(*read_file(letters_model(folder) + "/config.json"));
  config["id2label"] = {{"0", "a"}, {"1", "b"}};
  config["label2id"] = {{"a", 0}, {"b", 1}};
  EXPECT_TRUE(model_config_from_json(config.dump(), "c", {}).ok());
  config["label2id"] = {{"a", 1}, {"b", 0}};
  EXPECT_THAT(std::string(model_config_from_json(config.dump(), "c", {}).status().message()),
              HasSubstr("c: label2id gives \"a\" the number 1, and id2label gives it 0"));
}

// A pair by the folder's tokenizer: its ids, and where token type 1 begins.
class PairLayouts : public testing::Test {
 protected:
  std::string layout_of(const nlohmann::json& post_processor, const nlohmann::json& config) {
    const nlohmann::json vocabulary = {{"[PAD]", 0}, {"[UNK]", 1}, {"[CLS]", 2}, {"[SEP]", 3},
                                       {"<s>", 4},   {"</s>", 5},  {"a", 6},     {"b", 7}};
    nlohmann::json json = {{"added_tokens", nlohmann::json::array()},
                           {"normalizer", nullptr},
                           {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                           {"post_processor", post_processor},
                           {"model", {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"vocab", vocabulary}}}};
    for (const auto& [text, id] : vocabulary.items()) {
      if (id >= 6) continue;
      json["added_tokens"].push_back({{"id", id},
                                      {"content", text},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
    }
    folder_.write("tokenizer.json", json.dump());
    folder_.write("tokenizer_config.json", config.dump());
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = open_tokenizer(folder_.path());
    if (!tokenizer.ok()) return std::string(tokenizer.status().message());
    const absl::StatusOr<PairLayout> layout = pair_layout(**tokenizer);
    if (!layout.ok()) return std::string(layout.status().message());
    std::string text = layout->cuts_begin ? "ends of" : "";
    for (const PairLayout::Item& item : layout->pair) {
      absl::StrAppend(&text, text.empty() ? "" : " ", item.second ? "'" : "",
                      item.text == 0   ? "A"
                      : item.text == 1 ? "B"
                                       : absl::StrCat(item.token));
    }
    return text;
  }
  TestFolder folder_;
};

TEST_F(PairLayouts, AreThoseOfThePostProcessorThenOfTheClassThenOfTheFirstToken) {
  const char* bert = "2 A 3 'B '3";
  const char* roberta = "4 A 5 5 B 5";
  const nlohmann::json cls = {{"cls_token", "[CLS]"}, {"sep_token", "[SEP]"}, {"bos_token", "[CLS]"}};
  const nlohmann::json s = {{"cls_token", "<s>"}, {"sep_token", "</s>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}};
  // A BERT whose first token is named as the begin of a text too.
  EXPECT_EQ(layout_of(nullptr, cls), bert);
  EXPECT_EQ(layout_of({{"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", {"[CLS]", 2}}}, cls), bert);
  EXPECT_EQ(layout_of(nullptr, s), roberta);
  EXPECT_EQ(layout_of({{"type", "RobertaProcessing"}, {"sep", {"</s>", 5}}, {"cls", {"<s>", 4}}}, s), roberta);
  nlohmann::json named = s;
  named["tokenizer_class"] = "BertTokenizerFast";
  EXPECT_EQ(layout_of(nullptr, named), "4 A 5 'B '5");
  named = cls;
  named["tokenizer_class"] = "RobertaTokenizer";
  EXPECT_EQ(layout_of(nullptr, named), "2 A 3 3 B 3");
  const auto special = [](const char* id, int type) {
    return nlohmann::json{{"SpecialToken", {{"id", id}, {"type_id", type}}}};
  };
  const auto text = [](const char* id, int type) {
    return nlohmann::json{{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  nlohmann::json written = {
      {"type", "TemplateProcessing"},
      {"single", {special("<s>", 0), text("A", 0)}},
      {"pair", {special("<s>", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("</s>", 1)}},
      {"special_tokens",
       {{"<s>", {{"id", "<s>"}, {"ids", {4}}, {"tokens", {"<s>"}}}},
        {"[SEP]", {{"id", "[SEP]"}, {"ids", {3}}, {"tokens", {"[SEP]"}}}},
        {"</s>", {{"id", "</s>"}, {"ids", {5}}, {"tokens", {"</s>"}}}}}}};
  EXPECT_EQ(layout_of(written, cls), "4 A 3 'B '5");
  // What the folder says of the model's inputs and of long texts, as in transformers.
  nlohmann::json without_types = cls;
  without_types["model_input_names"] = {"input_ids", "attention_mask"};
  EXPECT_EQ(layout_of(written, without_types), "4 A 3 B 5");
  without_types["model_input_names"].push_back("token_type_ids");
  EXPECT_EQ(layout_of(written, without_types), "4 A 3 'B '5");
  nlohmann::json sided = cls;
  sided["truncation_side"] = "left";
  EXPECT_EQ(layout_of(nullptr, sided), "ends of 2 A 3 'B '3");
  sided["truncation_side"] = "right";
  EXPECT_EQ(layout_of(nullptr, sided), bert);
  sided["truncation_side"] = "middle";
  EXPECT_THAT(layout_of(nullptr, sided), HasSubstr("truncation_side \"middle\" of tokenizer_config.json"));
  EXPECT_EQ(layout_of({{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, written}}}, cls), "4 A 3 'B '5");
  written["pair"][0] = special("<x>", 0);
  EXPECT_THAT(layout_of(written, cls), HasSubstr("has no ids of <x>"));
  EXPECT_THAT(layout_of({{"type", "Novel"}}, cls), HasSubstr("the post-processor \"Novel\""));
}

}  // namespace
}  // namespace galleon
