#include "client/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/job_client.h"

namespace galleon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

JobText file(const std::string& more = "") {
  return {
      "name: my-text\ntask: pretrain\nmodel: {source: 'preset:tiny'}\ntokenizer: bytes\n"
      "data: {train: [/data/x.txt]}\ntraining: {steps: 30}\n" +
          more,
      "job.yaml", "/data"};
}

std::string refused(const std::vector<std::string>& settings, const std::vector<std::string>& sweeps) {
  const absl::StatusOr<v1::CreateGroupRequest> request = sweep_request(file(), settings, sweeps, resolve_job);
  EXPECT_FALSE(request.ok());
  return std::string(request.status().message());
}

TEST(Sweep, CommasWithinQuotesAndBracketsBelongToAValue) {
  EXPECT_THAT(split_values("1,2, 3"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(split_values("[attention, mlp],[attention]"), ElementsAre("[attention, mlp]", "[attention]"));
  EXPECT_THAT(split_values("{rank: 4, side: std},null"), ElementsAre("{rank: 4, side: std}", "null"));
  EXPECT_THAT(split_values("'a,b',\"c,\\\",d\""), ElementsAre("'a,b'", "\"c,\\\",d\""));
  EXPECT_THAT(split_values("don't,x"), ElementsAre("don't", "x"));
  EXPECT_THAT(split_values("[['a,]', b], c],d"), ElementsAre("[['a,]', b], c]", "d"));
  EXPECT_THAT(split_values(""), ElementsAre(""));
}

TEST(Sweep, MembersAreNamedByWhatTheyHaveOtherwise) {
  EXPECT_EQ(member_name("my-text", {{"optimizer.learning_rate", "0.005"}, {"model.seed", "1"}}, 1),
            "my-text-learning-rate-0-005-seed-1");
  EXPECT_EQ(member_name("a-name-that-is-rather-long", {{"optimizer.learning_rate", "0.005"}, {"model.seed", "1"}}, 1),
            "a-name-that-is-rather-long-lr0-005-s1");
  EXPECT_EQ(member_name(std::string(48, 'x'), {{"model.seed", "1"}}, 12), std::string(45, 'x') + "-12");
}

TEST(Sweep, SettingsAreAppliedToTheFileAsItIsWritten) {
  const absl::StatusOr<v1::Job> job = job_with(file("note: '12'\n"), {"optimizer.galore.rank=4", "training.steps=7"});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->optimizer().galore().rank(), 4U);
  EXPECT_EQ(job->training().steps(), 7U);
  EXPECT_EQ(job->note(), "12");
  // What is derived is derived from what was set.
  const absl::StatusOr<v1::Job> sgd = job_with(file(), {"optimizer.rule=sgd"});
  ASSERT_TRUE(sgd.ok()) << sgd.status();
  EXPECT_FALSE(sgd->optimizer().has_beta1());
  EXPECT_THAT(std::string(job_with(file("optimiser: {}\n"), {"training.steps=7"}).status().message()),
              HasSubstr("job.yaml:7: optimiser"));
  EXPECT_THAT(std::string(job_with(file(), {"training.step=7"}).status().message()), HasSubstr("--set: training.step"));
}

TEST(Sweep, WhatIsWrongIsRefusedByName) {
  EXPECT_EQ(refused({}, {"model.seed"}), "--sweep model.seed: KEY=VALUE is accepted");
  EXPECT_EQ(refused({}, {"model.seed=1,1"}), "--sweep model.seed: 1 is given twice");
  EXPECT_THAT(refused({}, {"model.seed=1,"}), HasSubstr("a value is empty"));
  EXPECT_THAT(refused({}, {"optimizer.galore.rank=1,2", "optimizer.galore=null,{rank: 3}"}),
              HasSubstr("optimizer.galore.rank is swept too"));
  EXPECT_THAT(refused({"model.seed=4"}, {"model.seed=1,2"}), HasSubstr("--set model.seed would set the same"));
  EXPECT_THAT(refused({}, {"name=a,b"}), HasSubstr("named by what they have otherwise"));
  std::string many = "model.seed=0";
  for (int i = 1; i < 20; ++i) many += "," + std::to_string(i);
  EXPECT_EQ(refused({}, {many, "data.seed=" + many.substr(11)}),
            "--sweep: more than 256 jobs; at most so many make a sweep");
  EXPECT_THAT(refused({}, {"optimizer.rule=adamw,adamm"}), HasSubstr("--sweep: optimizer.rule: \"adamm\""));
  EXPECT_THAT(refused({}, {"optimizer.rule=adamm"}), HasSubstr("in the job with optimizer.rule=adamm"));
}

TEST(Sweep, AGroupsNameIsNoJobs) {
  EXPECT_TRUE(names_group("my-text-g12"));
  EXPECT_TRUE(names_group("groups/my-text-g12"));
  EXPECT_FALSE(names_group("my-g12-3"));
  EXPECT_FALSE(names_group("jobs/x-g1"));
  EXPECT_FALSE(names_group("g12"));
  EXPECT_FALSE(names_group("x-g"));
}

}  // namespace
}  // namespace galleon
