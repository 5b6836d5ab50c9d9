// galleon resume --set: a new job of one that has ended, which begins with its newest checkpoint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/commands.h"
#include "proto/jobfile/jobfile.h"
#include "tests/client/fake_service.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class ResumeWithSettings : public testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<v1::Job> job = parse_job(
        "name: a\ntask: pretrain\nmodel: {source: 'preset:tiny', overrides: {rope_theta: 5000.5}}\ntokenizer: bytes\n"
        "data: {train: [/data/x.txt], text_field: '123'}\noptimizer: {galore: {rank: 4}}\n"
        "training: {steps: 10, global_batch: 32}\nlabels: {team: nlp, try: '1'}\nnote: \"one\\ntwo: three\"\n"
        "scheduling: {after: [before-1], time_limit: 60}\n",
        "job.yaml", "");
    ASSERT_TRUE(job.ok()) << job.status();
    v1::JobRecord record = record_of(v1::JobRecord::FAILED, "ran into its time limit", 7);
    *record.mutable_job() = *job;
    record.mutable_job()->mutable_shape()->set_architecture("llama");
    record.set_queue("lab");
    record.set_priority(3);
    record.mutable_checkpoint()->set_step(5);
    record.mutable_checkpoint()->set_folder("/jobs/a-1/checkpoints/step-00000005");
    service_.records = {record};
  }
  int resume(const std::vector<std::string>& settings, const Selection& selection = {.jobs = {"a-1"}}) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = run_resume({service_.address()}, selection, settings);
    std::fflush(stdout);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }

  FakeService service_;
  std::string out_;
  std::string err_;
};

TEST_F(ResumeWithSettings, TheNewJobIsTheOldOneButForWhatIsSet) {
  ASSERT_EQ(resume({"training.steps=20", "scheduling.time_limit=12h", "labels.try=2", "parallel.ranks=2"}), 0) << err_;
  EXPECT_EQ(out_, "submitted a-1, which begins with step 5 of a-1\n");
  ASSERT_EQ(service_.created.size(), 1U);
  const v1::Job& job = service_.created[0].job();
  v1::Job expected = service_.records[0].job();
  expected.mutable_training()->set_steps(20);
  expected.mutable_scheduling()->set_time_limit(12 * 3600);
  (*expected.mutable_labels())["try"] = "2";
  expected.mutable_parallel()->set_ranks(2);
  expected.mutable_checkpoint()->set_resume("/jobs/a-1/checkpoints/step-00000005");
  expected.mutable_scheduling()->clear_after();
  // As they were in force.
  expected.mutable_scheduling()->set_queue("lab");
  expected.mutable_scheduling()->set_priority(3);
  EXPECT_EQ(job.ShortDebugString(), expected.ShortDebugString());
  EXPECT_EQ(job.optimizer().schedule().steps(), 10U) << "the curve is that of the checkpoint";
}

TEST_F(ResumeWithSettings, WhatTheCheckpointIsOfCannotBeSet) {
  for (const char* setting : {"optimizer.learning_rate=0.1", "optimizer.galore.rank=8", "model.source=preset:tiny",
                              "tokenizer=bytes", "name=b", "data.seed=1", "training.precision=bf16", "data={}"}) {
    EXPECT_EQ(resume({setting}), 1) << setting;
    EXPECT_THAT(err_, HasSubstr("is part of the computation that the checkpoint is of")) << setting;
  }
  EXPECT_EQ(resume({"checkpoint.resume=auto"}), 1);
  EXPECT_THAT(err_, HasSubstr("it begins with the newest checkpoint of a-1"));
  EXPECT_TRUE(service_.created.empty());
}

TEST_F(ResumeWithSettings, WhatIsWrongIsSaidByName) {
  EXPECT_EQ(resume({"training.stepps=20"}), 1);
  EXPECT_EQ(err_.find("galleon: --set: training.stepps: unknown key; did you mean steps?"), 0U) << err_;
  EXPECT_EQ(resume({"training.steps=many"}), 1);
  EXPECT_THAT(err_, HasSubstr("training.steps: \"many\" is not accepted"));
  EXPECT_EQ(resume({"training.steps"}), 1);
  EXPECT_THAT(err_, HasSubstr("--set training.steps: KEY=VALUE is accepted"));
  EXPECT_EQ(resume({"training.steps=20", "training.steps=30"}), 1);
  EXPECT_THAT(err_, HasSubstr("is given twice"));
  EXPECT_EQ(resume({"labels={a"}), 1);
  EXPECT_THAT(err_, HasSubstr("not YAML"));
  EXPECT_EQ(resume({"training.steps=20"}, {.jobs = {"a-1", "b-2"}}), 1);
  EXPECT_THAT(err_, HasSubstr("--set makes a new job of one that is named"));
  EXPECT_TRUE(service_.created.empty());
}

TEST_F(ResumeWithSettings, AJobWithoutACheckpointOrThatStillRunsIsRefused) {
  v1::JobRecord record = service_.records[0];
  record.clear_checkpoint();
  service_.records = {record};
  EXPECT_EQ(resume({"training.steps=20"}), 1);
  EXPECT_THAT(err_, HasSubstr("a-1 has published no checkpoint to begin with"));
  record.set_state(v1::JobRecord::RUNNING);
  service_.records = {record};
  EXPECT_EQ(resume({"training.steps=20"}), 1);
  EXPECT_THAT(err_, HasSubstr("a-1 is RUNNING; a job that has ended goes on as a new one"));
}

}  // namespace
}  // namespace galleon
