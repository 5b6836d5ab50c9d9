// Orders for jobs that are there, through the service: what they do to records, files and others.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;
using testing::ElementsAre;
using testing::HasSubstr;

class JobOrders : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    // No lease ends where other programs keep the processors busy.
    options_.scheduler.lease_ms = 600'000;
  }
  template <typename Request>
  static Request of(const std::string& id) {
    Request request;
    request.set_name("jobs/" + id);
    return request;
  }
  std::string folder_of(const std::string& id) const { return absl::StrCat(folder_, "/data/jobs/", id); }
  void put(const std::string& path) {
    ASSERT_TRUE(make_folders(std::filesystem::path(path).parent_path().string()).ok());
    ASSERT_TRUE(write_file_atomically(path, "x").ok());
  }
  std::string word(const grpc::Status& status) {
    v1::ErrorInfo info;
    EXPECT_TRUE(info.ParseFromString(details(status).details(0).value()));
    return info.reason();
  }
  std::string cancelled(const std::string& name) {
    const std::string id = submit(job_named(name));
    v1::JobRecord record;
    EXPECT_TRUE(jobs_->CancelJob(context().get(), of<v1::CancelJobRequest>(id), &record).ok());
    return id;
  }
  grpc::Status remove(const std::string& id, v1::DeleteJobResponse& response, bool keep = false) {
    v1::DeleteJobRequest request = of<v1::DeleteJobRequest>(id);
    request.set_keep_checkpoints(keep);
    return jobs_->DeleteJob(context().get(), request, &response);
  }
  // An ended job that has published a checkpoint, with its files.
  std::string with_checkpoint() {
    Daemon a{"a", {}, {}, {}, 0};
    EXPECT_TRUE(join(a).ok());
    const std::string id = submit(job_named("base"));
    train(a, 5);
    if (a.held.empty()) return "";
    EXPECT_TRUE(publish(a, a.held[0].id(), 5).ok());
    finish(a, v1::Finished::SUCCEEDED);
    EXPECT_TRUE(reaches(id, J::SUCCEEDED));
    put(folder_of(id) + "/checkpoints/step-00000005/model.safetensors");
    put(folder_of(id) + "/metrics.jsonl");
    put(folder_ + "/data/logs/" + id + "/1/0.log");
    return id;
  }
};

TEST_F(JobOrders, ARequeuedJobWritesACheckpointAndGoesOnFromIt) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  const std::string id = submit(job_named("x"));
  train(a, 3);
  ASSERT_FALSE(a.held.empty());
  v1::RequeueJobRequest request = of<v1::RequeueJobRequest>(id);
  request.set_reason("let others go first");
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->RequeueJob(context().get(), request, &record).ok());
  EXPECT_EQ(record.state(), J::PREEMPTING);
  EXPECT_THAT(record.message(), HasSubstr("is queued again: let others go first"));
  EXPECT_EQ(word(jobs_->RequeueJob(context().get(), request, &record)), "JOB_HOLDS_NO_SLOTS");
  ASSERT_TRUE(publish(a, a.held[0].id(), 4).ok());
  finish(a, v1::Finished::STOPPED);
  ASSERT_TRUE(sync(a).ok());
  EXPECT_TRUE(eventually([&] { return get(id).attempts() == 2; }));
  EXPECT_EQ(get(id).attempt().resumed_from_step(), 4U);
}

TEST_F(JobOrders, AHeldJobSaysSoAndIsStartedOnceItIsReleased) {
  start();
  const std::string id = submit(job_named("x"));
  v1::HoldJobRequest hold = of<v1::HoldJobRequest>(id);
  hold.set_reason("new data comes");
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->HoldJob(context().get(), hold, &record).ok());
  EXPECT_TRUE(record.held());
  stop();
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  EXPECT_EQ(get(id).message(), "position 1 of 1; is held: new data comes; galleon release lets it start");
  ASSERT_TRUE(jobs_->ReleaseJob(context().get(), of<v1::ReleaseJobRequest>(id), &record).ok());
  train(a, 1);
  EXPECT_TRUE(reaches(id, J::RUNNING));
  EXPECT_EQ(word(jobs_->HoldJob(context().get(), hold, &record)), "JOB_HOLDS_SLOTS");
  hold.set_reason(std::string(2000, 'x'));
  EXPECT_THAT(jobs_->HoldJob(context().get(), hold, &record).error_message(), HasSubstr("reason: is of 2000 bytes"));
}

TEST_F(JobOrders, ADeletedJobTakesItsFolderAndLogsAlong) {
  start();
  const std::string id = with_checkpoint();
  v1::DeleteJobResponse response;
  ASSERT_TRUE(remove(id, response).ok());
  EXPECT_EQ(response.left_folder(), "");
  v1::JobRecord record;
  EXPECT_EQ(jobs_->GetJob(context().get(), of<v1::GetJobRequest>(id), &record).error_code(), grpc::NOT_FOUND);
  EXPECT_TRUE(eventually([&] {
    return !std::filesystem::exists(folder_of(id)) && !std::filesystem::exists(folder_ + "/data/logs/" + id);
  }));
  // Twice is once.
  EXPECT_EQ(word(remove(id, response)), "JOB_NOT_FOUND");
}

TEST_F(JobOrders, ADeletedJobLeavesItsPublishedCheckpointsWhereThatIsAsked) {
  start();
  const std::string id = with_checkpoint();
  v1::DeleteJobResponse response;
  ASSERT_TRUE(remove(id, response, true).ok());
  EXPECT_EQ(response.left_folder(), folder_of(id) + "/checkpoints");
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(folder_of(id) + "/metrics.jsonl"); }));
  EXPECT_TRUE(std::filesystem::exists(response.left_folder() + "/step-00000005/model.safetensors"));
}

TEST_F(JobOrders, AFolderThatCouldNotBeTakenAwayIsTakenAtTheNextStart) {
  start();
  const std::string id = cancelled("x");
  // Deeper than what is taken at once, as if the process had died in between.
  std::string deep = folder_of(id);
  for (int i = 0; i < 200; ++i) deep += "/d";
  ASSERT_TRUE(make_folders(deep).ok());
  v1::DeleteJobResponse response;
  ASSERT_TRUE(remove(id, response).ok());
  stop();
  ASSERT_TRUE(std::filesystem::exists(folder_of(id)));
  std::filesystem::remove_all(folder_of(id) + "/d");
  start();
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(folder_of(id)); }));
}

TEST_F(JobOrders, AResumedJobIsWatchedAgain) {
  start();
  const std::string id = cancelled("x");
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->ResumeJob(context().get(), of<v1::ResumeJobRequest>(id), &record).ok());
  EXPECT_EQ(record.state(), J::QUEUED);
  EXPECT_EQ(record.resumptions(), 1U);
  EXPECT_EQ(word(jobs_->ResumeJob(context().get(), of<v1::ResumeJobRequest>(id), &record)), "JOB_HAS_NOT_ENDED");
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  train(a, 1);
  finish(a, v1::Finished::SUCCEEDED);
  EXPECT_TRUE(reaches(id, J::SUCCEEDED));
  EXPECT_EQ(word(jobs_->ResumeJob(context().get(), of<v1::ResumeJobRequest>(id), &record)), "JOB_HAS_ENDED");
}

TEST_F(JobOrders, AJobMayBeginWithTheCheckpointOfOneThatIsThere) {
  start();
  const std::string base = with_checkpoint();
  v1::Job job = job_named("next");
  job.mutable_checkpoint()->set_resume(folder_of(base) + "/checkpoints/step-00000005");
  v1::JobRecord record;
  ASSERT_TRUE(create(job, record).ok());
  v1::DeleteJobResponse response;
  EXPECT_EQ(word(remove(base, response)), "JOB_IS_NEEDED");
  job.mutable_checkpoint()->set_resume("../" + cancelled("empty") + "/checkpoints/step-1");
  EXPECT_THAT(create(job, record).error_message(), HasSubstr("has published no checkpoint"));
  job.mutable_checkpoint()->set_resume(folder_of("none-9") + "/checkpoints/step-1");
  EXPECT_THAT(create(job, record).error_message(), HasSubstr("which is no job of the list"));
  job.mutable_checkpoint()->set_resume("checkpoints/step-1");
  EXPECT_TRUE(create(job, record).ok());
}

TEST_F(JobOrders, ListsFilterOnTheServerSoThatPagesAreFull) {
  start();
  for (int i = 0; i < 12; ++i) {
    v1::Job job = job_named("x");
    (*job.mutable_labels())["team"] = i % 3 == 0 ? "nlp" : "vision";
    (*job.mutable_labels())["try"] = absl::StrCat(i);
    submit(job);
  }
  v1::ListJobsRequest request;
  (*request.mutable_labels())["team"] = "nlp";
  request.set_page_size(3);
  std::vector<std::string> ids;
  v1::ListJobsResponse page;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  EXPECT_EQ(page.jobs_size(), 3);
  for (const J& job : page.jobs()) ids.push_back(job.job_id());
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  for (const J& job : page.jobs()) ids.push_back(job.job_id());
  EXPECT_EQ(page.next_page_token(), "");
  EXPECT_THAT(ids, ElementsAre("x-10", "x-7", "x-4", "x-1"));
  request.Clear();
  request.set_job_id("x-4");
  request.add_states(J::QUEUED);
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  EXPECT_EQ(page.jobs_size(), 1);
  request.set_created_after_ms(page.jobs(0).create_time_ms() + 1);
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  EXPECT_EQ(page.jobs_size(), 0);
}

TEST_F(JobOrders, TheLastLinesOfALogAreGivenAlone) {
  start();
  const std::string id = with_checkpoint();
  ASSERT_TRUE(write_file_atomically(folder_ + "/data/logs/" + id + "/1/0.log", "one\ntwo\n\nfour\nfive").ok());
  const auto tail = [&](uint32_t lines) {
    v1::ReadLogsRequest request = of<v1::ReadLogsRequest>(id);
    request.set_tail_lines(lines);
    const auto open = context();
    const auto reader = jobs_->ReadLogs(open.get(), request);
    std::string text;
    v1::ReadLogsResponse piece;
    while (reader->Read(&piece)) text += piece.data();
    EXPECT_TRUE(reader->Finish().ok());
    return text;
  };
  EXPECT_EQ(tail(1), "five");
  EXPECT_EQ(tail(3), "\nfour\nfive");
  EXPECT_EQ(tail(5), "one\ntwo\n\nfour\nfive");
  EXPECT_EQ(tail(50), "one\ntwo\n\nfour\nfive");
  ASSERT_TRUE(write_file_atomically(folder_ + "/data/logs/" + id + "/1/0.log", "one\ntwo\n").ok());
  EXPECT_EQ(tail(1), "two\n");
  v1::ReadLogsRequest both = of<v1::ReadLogsRequest>(id);
  both.set_tail_lines(1);
  both.set_offset(1);
  const auto open = context();
  EXPECT_EQ(jobs_->ReadLogs(open.get(), both)->Finish().error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace galleon::server
