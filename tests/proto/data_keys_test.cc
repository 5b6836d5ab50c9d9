// The keys of data: bad rows, mixtures, dates of templates, addresses.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "tests/proto/parsed_jobs.h"

namespace galleon {
namespace {

TEST(JobFile, ABoundOfBadRowsBelongsToThoseThatAreSkipped) {
  const std::string job = "name: small\ntask: pretrain\nmodel: {source: preset:tiny}\ntokenizer: bytes\n";
  const std::string steps = "training: {steps: 1, global_batch: 1, micro_batch: 1}\n";
  EXPECT_EQ(parse_bad(job + "data: {train: [a], max_bad_rows: 5}\n" + steps),
            "job.yaml:5: data.max_bad_rows: contradicts data.bad_rows: refuse, which skips none; it belongs to skip");
  EXPECT_TRUE(parse_job(job + "data: {train: [a], bad_rows: skip, max_bad_rows: 5}\n" + steps, "job.yaml", "").ok());
}

std::string with_train(const std::string& train, const std::string& more = "") {
  return absl::StrCat("name: small\ntask: pretrain\nmodel: {source: preset:tiny}\ntokenizer: bytes\n",
                      "training: {steps: 1, global_batch: 1, micro_batch: 1}\ndata:\n  train:\n", train, more);
}

TEST(JobFile, EntriesWithWeightsAreReadResolvedAndWrittenBack) {
  const v1::Job job = parse_good(
      with_train("    - {path: a/*.txt, weight: 3}\n    - weight: 0.5\n      path: /b.jsonl\n"), "/home/ann");
  EXPECT_EQ(std::vector<std::string>(job.data().train().begin(), job.data().train().end()),
            (std::vector<std::string>{"/home/ann/a/*.txt", "/b.jsonl"}));
  EXPECT_EQ(std::vector<double>(job.data().train_weights().begin(), job.data().train_weights().end()),
            (std::vector<double>{3, 0.5}));
  const std::string yaml = job_to_yaml(job);
  EXPECT_NE(yaml.find("  train: [{path: \"/home/ann/a/*.txt\", weight: 3}, {path: /b.jsonl, weight: 0.5}]\n"),
            std::string::npos)
      << yaml;
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(parse_good(yaml), job));
  // A job without weights means what it did.
  EXPECT_EQ(parse_good(with_train("    - a\n    - b\n")).data().train_weights_size(), 0);
}

TEST(JobFile, WhatIsWrongWithAMixtureIsNamedWithItsLine) {
  const struct {
    const char* train;
    const char* error;
  } cases[] = {
      {"    - {path: a, weight: 1}\n    - b\n",
       "job.yaml:9: data.train[1]: has no weight, and data.train[0] has one; each entry of a mixture is {path: …, "
       "weight: …}"},
      {"    - {path: a}\n",
       "job.yaml:8: data.train[0].weight: is required: a number greater than 0: how much of the mixture the entry "
       "makes"},
      {"    - {weight: 1}\n", "job.yaml:8: data.train[0].path: is required: a path or a glob"},
      {"    - {path: '', weight: 1}\n", "job.yaml:8: data.train[0]: is empty; a path or a glob is accepted"},
      {"    - {path: a, weight: 1}\n    - path: b\n      weight: 0\n",
       "job.yaml:10: data.train[1].weight: 0 is not accepted; greater than 0"},
      {"    - {path: a, weight: -1}\n", "job.yaml:8: data.train[0].weight: -1 is not accepted; greater than 0"},
      {"    - {path: a, weight: .inf}\n",
       "job.yaml:8: data.train[0].weight: \".inf\" is not accepted; a finite number"},
      {"    - {path: a, weight: .nan}\n",
       "job.yaml:8: data.train[0].weight: \".nan\" is not accepted; a finite number"},
      {"    - {path: a, weight: 1e999}\n",
       "job.yaml:8: data.train[0].weight: \"1e999\" is not accepted; a finite number"},
      {"    - {path: a, weight: '3'}\n", "job.yaml:8: data.train[0].weight: \"3\" is not accepted; a finite number"},
      {"    - {path: a, weight: null}\n", "job.yaml:8: data.train[0].weight: null is not accepted; a finite number"},
      {"    - {path: [a], weight: 1}\n", "job.yaml:8: data.train[0].path: a list is not accepted; a string"},
      {"    - {path: a, wieght: 1, weight: 1}\n",
       "job.yaml:8: data.train[0].wieght: unknown key; did you mean weight? Accepted here: path, weight"},
      {"    - {path: a, weight: 1, weight: 2}\n", "job.yaml:8: data.train[0].weight: given twice, first in line 8"},
      {"    - [a, 1]\n", "job.yaml:8: data.train[0]: a list is not accepted; a string"},
      {"    - {path: a, weight: 1e10}\n    - {path: b, weight: 1}\n",
       "job.yaml:9: data.train[1].weight: 1 is not accepted; at least a billionth of the largest weight, 1e+10"},
      {"    - a\n  validation: [{path: b, weight: 1}]\n",
       "job.yaml:9: data.validation[0]: a mapping is not accepted; a string; weights belong to train"},
      {"    - a\n  train_weights: [1]\n", nullptr},
  };
  for (const auto& c : cases) {
    const std::string error = parse_bad(with_train(c.train));
    if (c.error != nullptr)
      EXPECT_EQ(error, c.error);
    else
      EXPECT_EQ(error.rfind("job.yaml:9: data.train_weights: unknown key", 0), 0U) << error;
  }
}

// A client sends messages, not files.
TEST(JobFile, WeightsOfAMessageAreOneForEachEntry) {
  v1::Job job = parse_good(with_train("    - {path: a, weight: 1}\n    - {path: b, weight: 2}\n"));
  EXPECT_TRUE(validate_job(job).ok());
  job.mutable_data()->add_train_weights(1);
  EXPECT_EQ(validate_job(job).message(),
            "data.train_weights: 3 are not accepted; one for each of the 2 entries of data.train, or none");
  job.mutable_data()->mutable_train_weights()->RemoveLast();
  job.mutable_data()->set_train_weights(1, std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(validate_job(job).message(), "data.train[1].weight: nan is not accepted; greater than 0");
}

TEST(JobFile, TheDateThatATemplateSeesIsADateAndBelongsToChat) {
  const auto job = [](const std::string& data) {
    return absl::StrCat("name: small\ntask: finetune\nmodel: {source: a}\ntokenizer: bytes\ndata: {train: [a], ", data,
                        "}\ntraining: {steps: 1, global_batch: 1, micro_batch: 1}\n");
  };
  EXPECT_EQ(parse_good(job("format: chat, template_date: 2026-01-31")).data().template_date(), "2026-01-31");
  for (const char* bad : {"2026-02-30", "31.1.2026", "2026-1-31", "''", "today"}) {
    EXPECT_NE(parse_bad(job(absl::StrCat("format: chat, template_date: ", bad)))
                  .find("is not accepted; a date such as 2024-07-26, or null"),
              std::string::npos)
        << bad;
  }
  EXPECT_EQ(parse_bad(job("template_date: 2026-01-31")),
            "job.yaml:5: data.template_date: contradicts data.format; it needs format: chat");
}

TEST(JobFile, AddressesStayAsTheyAreAndWhatIsNoneIsRefusedUnderItsKey) {
  const std::string start = "name: n\ntask: finetune\ntraining: {steps: 1}\n";
  const v1::Job job = parse_good(start +
                                     "model: {source: \"s3://team/models/a\"}\ntokenizer: gs://team/t\n"
                                     "data: {train: [\"s3://team/**/*.parquet\", here.txt]}\n"
                                     "checkpoint: {resume: \"s3://team/runs/step-00000001\"}\n",
                                 "/srv");
  EXPECT_EQ(job.model().source(), "s3://team/models/a");
  EXPECT_EQ(job.tokenizer(), "gs://team/t");
  EXPECT_EQ(job.data().train(0), "s3://team/**/*.parquet");
  EXPECT_EQ(job.data().train(1), "/srv/here.txt");
  EXPECT_EQ(job.checkpoint().resume(), "s3://team/runs/step-00000001");
  const std::string said = parse_bad(start +
                                     "model: {source: \"hf://team/a\"}\ntokenizer: \"s3a://team/t\"\n"
                                     "data: {train: [\"https://host/x\"], validation: [\"s3://id:hunter2@team/x\"]}\n"
                                     "checkpoint: {copy_to: /srv/copies}\n");
  for (const char* key :
       {"model.source: hf:// is not read", "tokenizer: s3a:// is not read", "data.train[0]: https:// is",
        "data.validation[0]: credentials do not belong", "checkpoint.copy_to: is no address"})
    EXPECT_NE(said.find(key), std::string::npos) << key << " in " << said;
  EXPECT_EQ(said.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace galleon
