#include "proto/jobfile/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {
namespace {

using testing::HasSubstr;

absl::StatusOr<v1::Job> with(const std::string& lines) {
  return parse_job(absl::StrCat("name: a\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n",
                                "data: {train: [/x.txt]}\ntraining: {steps: 3}\n", lines),
                   "job.yaml", "");
}

std::string fault(const std::string& lines) {
  const absl::StatusOr<v1::Job> job = with(lines);
  EXPECT_FALSE(job.ok()) << lines;
  return std::string(job.status().message());
}

TEST(Labels, KeysAndValuesAreOfTheFormThatKubernetesHas) {
  for (const std::string& key :
       {std::string("team"), std::string("a"), std::string("9"), std::string("Team.x_y-z"),
        std::string("example.org/team"), std::string(63, 'x'), absl::StrCat("a-b.c/", std::string(63, 'x'))})
    EXPECT_EQ(label_key_fault(key), "") << key;
  for (const std::string& key :
       {std::string(), std::string("-a"), std::string("a-"), std::string("a b"), std::string("a/b/c"),
        std::string("/a"), std::string("a/"), std::string("Upper.org/x"), std::string("a..b/x"), std::string("té"),
        std::string("a=b"), std::string(64, 'x'), absl::StrCat(std::string(254, 'x'), "/a")})
    EXPECT_NE(label_key_fault(key), "") << key;
  for (const std::string& value : {std::string(), std::string("1"), std::string("A_b.c-9"), std::string(63, 'x')})
    EXPECT_EQ(label_value_fault(value), "") << value;
  for (const std::string& value : {std::string("a b"), std::string("_a"), std::string("a/b"), std::string(64, 'x')})
    EXPECT_NE(label_value_fault(value), "") << value;
}

TEST(Labels, OfAJobFileAreReadAndWrittenBackInOneOrder) {
  const absl::StatusOr<v1::Job> job = with("labels: {team: nlp, try: 3, empty: ''}\nnote: \"first line\\nsecond\"\n");
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->labels().at("try"), "3");
  EXPECT_EQ(job->note(), "first line\nsecond");
  const std::string yaml = job_to_yaml(*job);
  EXPECT_THAT(yaml, HasSubstr("labels: {\"empty\": \"\", \"team\": \"nlp\", \"try\": \"3\"}\n"));
  const absl::StatusOr<v1::Job> again = parse_job(yaml, "again.yaml", "");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->note(), job->note());
}

TEST(Labels, ThatAreNoneAreRefusedByNameAndLine) {
  EXPECT_THAT(fault("labels:\n  team: nlp\n  owner: a b\n"),
              HasSubstr("job.yaml:9: labels.owner: \"a b\" is no value of a label; up to 63 letters"));
  EXPECT_THAT(fault("labels: {'te am': nlp}\n"), HasSubstr("labels: \"te am\" is no key of a label; 1 to 63 letters"));
  std::string many = "labels:\n";
  for (int i = 0; i < 33; ++i) absl::StrAppend(&many, "  k", i, ": v\n");
  EXPECT_THAT(fault(many), HasSubstr("labels: 33 are not accepted; at most 32"));
  EXPECT_THAT(fault("labels: [a]\n"), HasSubstr("labels:"));
}

TEST(Labels, ANoteIsATextOfBoundedLength) {
  EXPECT_TRUE(with("note: \"" + std::string(1024, 'x') + "\"\n").ok());
  EXPECT_THAT(fault("note: \"" + std::string(1025, 'x') + "\"\n"),
              HasSubstr("note: is of 1025 bytes, at most 1024 are accepted"));
  EXPECT_THAT(fault("note: \"a\\eb\"\n"), HasSubstr("note: holds control characters"));
}

TEST(After, TakesAJobAloneOrBehindHowItHasToEnd) {
  EXPECT_TRUE(with("scheduling: {after: [a-1, 'any:a-1', 'failed:jobs/a-1'], queue_timeout: 2d}\n").ok());
  EXPECT_EQ(with("scheduling: {queue_timeout: 2d}\n")->scheduling().queue_timeout(), 172'800U);
  EXPECT_THAT(fault("scheduling: {after: ['ok:a-1']}\n"),
              HasSubstr("scheduling.after[0]: \"ok:\" is not accepted; JOB, any:JOB or failed:JOB"));
  EXPECT_THAT(fault("scheduling: {after: ['any:']}\n"), HasSubstr("names no job"));
  EXPECT_THAT(fault("scheduling: {queue_timeout: 0}\n"), HasSubstr("scheduling.queue_timeout: 0 is not accepted"));
}

}  // namespace
}  // namespace galleon
