#include <thread>

#include "absl/strings/match.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

class Jobs : public ServerTest {};

TEST_F(Jobs, AJobRunsFromSubmitToSuccessAndItsFolderIsThere) {
  start();
  const std::string id = submit(job_named("tiny", 2));
  EXPECT_EQ(id, "tiny-1");
  EXPECT_EQ(get(id).message(), "position 1 of 1; needs 2 slots of 112 MiB, no worker is registered");
  EXPECT_EQ(get(id).folder(), folder_ + "/data/jobs/tiny-1");
  Daemon a{"a", {}, {}, {}, 0}, b{"b", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  ASSERT_TRUE(join(b).ok());
  EXPECT_EQ(a.registration.jobs_folder(), folder_ + "/data/jobs");
  EXPECT_EQ(a.registration.lease_milliseconds(), 2'000U);
  train(a, 3);
  EXPECT_TRUE(std::filesystem::is_directory(folder_ + "/data/jobs/tiny-1"));
  train(b, 3);
  ASSERT_TRUE(sync(a).ok());
  ASSERT_TRUE(reaches(id, J::RUNNING));
  EXPECT_EQ(get(id).progress().step(), 3U);
  finish(a, v1::Finished::SUCCEEDED);
  EXPECT_EQ(get(id).state(), J::RUNNING);
  finish(b, v1::Finished::SUCCEEDED);
  EXPECT_EQ(get(id).state(), J::SUCCEEDED);
  EXPECT_EQ(get(id).final_train_loss(), 1.25);
  ASSERT_TRUE(sync(a).ok());
  EXPECT_TRUE(a.held.empty());
}

TEST_F(Jobs, BadJobsAreRefusedWithTheFieldInTheDetails) {
  start();
  v1::JobRecord record;
  const grpc::Status name = create(job_named("Bad_Name"), record);
  EXPECT_EQ(name.error_code(), grpc::INVALID_ARGUMENT);
  const v1::RpcStatus parsed = details(name);
  ASSERT_EQ(parsed.details_size(), 2);
  EXPECT_EQ(parsed.details(0).type_url(), "type.googleapis.com/google.rpc.ErrorInfo");
  v1::BadRequest bad;
  ASSERT_EQ(parsed.details(1).type_url(), "type.googleapis.com/google.rpc.BadRequest");
  ASSERT_TRUE(bad.ParseFromString(parsed.details(1).value()));
  EXPECT_EQ(bad.field_violations(0).field(), "job.name");
  v1::Job job = job_named("x");
  job.clear_shape();
  EXPECT_TRUE(absl::StrContains(create(job, record).error_message(), "job.shape"));
  job = job_named("x");
  job.mutable_scheduling()->set_queue("fast");
  EXPECT_TRUE(absl::StrContains(create(job, record).error_message(), "there is no queue \"fast\""));
  job = job_named("x");
  job.mutable_data()->add_train(std::string(300 << 10, 'x'));
  EXPECT_TRUE(absl::StrContains(create(job, record).error_message(), "at most 262144 are accepted"));
  EXPECT_EQ(times_planned(), 0);
  v1::GetJobRequest missing;
  missing.set_name("jobs/none-1");
  const grpc::Status none = jobs_->GetJob(context().get(), missing, &record);
  EXPECT_EQ(none.error_code(), grpc::NOT_FOUND);
  v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(details(none).details(0).value()));
  EXPECT_EQ(info.reason(), "JOB_NOT_FOUND");
  EXPECT_EQ(info.domain(), "galleon");
}

TEST_F(Jobs, ThePlannersRefusalIsTheAnswerInItsOwnWords) {
  set_planner("echo first >&2; echo 'training.micro_batch: 7 does not divide 16' >&2; exit 2");
  start();
  v1::JobRecord record;
  const grpc::Status refused = create(job_named("x"), record);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(refused.error_message(), "training.micro_batch: 7 does not divide 16");
  set_planner("echo nonsense");
  EXPECT_EQ(create(job_named("x"), record).error_code(), grpc::INTERNAL);
  std::filesystem::remove(options_.planner);
  const grpc::Status missing = create(job_named("x"), record);
  EXPECT_EQ(missing.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_TRUE(absl::StrContains(missing.error_message(), "--planner"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/data/planner"));
}

TEST_F(Jobs, PlansAreKnownByWhatTheyDependOn) {
  start();
  submit(job_named("one"));
  submit(job_named("another"));
  EXPECT_EQ(times_planned(), 1);
  v1::Job different = job_named("third");
  different.mutable_data()->set_sequence_length(512);
  submit(different);
  EXPECT_EQ(times_planned(), 2);
}

TEST_F(Jobs, ValidateOnlyAnswersWithPlanAndForecastAndStoresNothing) {
  start();
  v1::JobRecord record;
  ASSERT_TRUE(create(job_named("x"), record, "", true).ok());
  EXPECT_EQ(record.plan().ranks_size(), 1);
  EXPECT_EQ(record.message(), "would wait: position 1 of 1; needs 1 slot of 112 MiB, no worker is registered");
  v1::ListJobsResponse list;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs_size(), 0);
}

TEST_F(Jobs, ARepeatedRequestReturnsTheFirstJobEvenAfterARestart) {
  start();
  v1::JobRecord first, again;
  ASSERT_TRUE(create(job_named("x"), first, "r1").ok());
  stop();
  start();
  ASSERT_TRUE(create(job_named("x"), again, "r1").ok());
  EXPECT_EQ(again.job_id(), first.job_id());
  EXPECT_EQ(create(job_named("y"), again, "r1").error_code(), grpc::ALREADY_EXISTS);
}

TEST_F(Jobs, ListsArePagedNewestFirstAndFiltered) {
  start();
  for (int i = 0; i < 5; ++i) submit(job_named("j"));
  v1::CancelJobRequest cancel;
  cancel.set_name("jobs/j-3");
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), cancel, &record).ok());
  EXPECT_EQ(record.state(), J::CANCELLED);
  v1::ListJobsRequest request;
  request.set_page_size(2);
  std::vector<std::string> seen;
  do {
    v1::ListJobsResponse page;
    ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
    EXPECT_LE(page.jobs_size(), 2);
    for (const v1::JobRecord& job : page.jobs()) seen.push_back(job.job_id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, (std::vector<std::string>{"j-5", "j-4", "j-3", "j-2", "j-1"}));
  v1::ListJobsRequest cancelled;
  cancelled.add_states(J::CANCELLED);
  v1::ListJobsResponse page;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), cancelled, &page).ok());
  ASSERT_EQ(page.jobs_size(), 1);
  EXPECT_EQ(page.jobs(0).job_id(), "j-3");
  // Several states, of which one is asked for twice, in pages.
  request.set_page_size(3);
  for (const J::State state : {J::QUEUED, J::CANCELLED, J::QUEUED, J::FAILED}) request.add_states(state);
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  seen.clear();
  for (const v1::JobRecord& job : page.jobs()) seen.push_back(job.job_id());
  EXPECT_EQ(seen, (std::vector<std::string>{"j-5", "j-4", "j-3"}));
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &page).ok());
  ASSERT_EQ(page.jobs_size(), 2);
  EXPECT_EQ(page.jobs(0).job_id(), "j-2");
  EXPECT_EQ(page.jobs(1).job_id(), "j-1");
  EXPECT_EQ(page.next_page_token(), "");
  request.clear_states();
  request.set_page_token("x");
  EXPECT_EQ(jobs_->ListJobs(context().get(), request, &page).error_code(), grpc::INVALID_ARGUMENT);
  request.clear_page_token();
  request.set_page_size(1001);
  EXPECT_EQ(jobs_->ListJobs(context().get(), request, &page).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(Jobs, AWatchShowsEachChangeAndEndsAfterTheLast) {
  start();
  const std::string id = submit(job_named("x"));
  v1::WatchJobRequest request;
  request.set_name("jobs/" + id);
  auto watch_context = context();
  auto reader = jobs_->WatchJob(watch_context.get(), request);
  v1::WatchJobResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.job().state(), J::QUEUED);
  v1::CancelJobRequest cancel;
  cancel.set_name("jobs/" + id);
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), cancel, &record).ok());
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.job().state(), J::CANCELLED);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
  request.set_name("jobs/none");
  auto missing_context = context();
  auto missing = jobs_->WatchJob(missing_context.get(), request);
  EXPECT_FALSE(missing->Read(&response));
  EXPECT_EQ(missing->Finish().error_code(), grpc::NOT_FOUND);
}

TEST_F(Jobs, ShutdownEndsWatchesWithUnavailable) {
  start();
  v1::WatchJobRequest request;
  request.set_name("jobs/" + submit(job_named("x")));
  auto watch_context = context();
  auto reader = jobs_->WatchJob(watch_context.get(), request);
  v1::WatchJobResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread stopping([this] { stop(); });
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::UNAVAILABLE);
  stopping.join();
}

TEST_F(Jobs, ShutdownDoesNotWaitForAPlannerThatHangs) {
  set_planner("sleep 100");
  start();
  grpc::Status status;
  std::thread submitting([this, &status] {
    v1::JobRecord record;
    status = create(job_named("x"), record);
  });
  while (times_planned() == 0) absl::SleepFor(absl::Milliseconds(10));
  const absl::Time before = absl::Now();
  stop();
  EXPECT_LT(absl::Now() - before, absl::Seconds(80)) << "the planner takes 100 s";
  submitting.join();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
}

TEST_F(Jobs, AFolderOfAJobThatTheJournalDoesNotKnowIsLeftAlone) {
  std::filesystem::create_directories(folder_ + "/data/jobs/x-1");
  ASSERT_TRUE(write_file_atomically(folder_ + "/data/jobs/x-1/metrics.jsonl", "{}").ok());
  start();
  EXPECT_EQ(submit(job_named("x")), "x-2");
}

class JobsFolder : public Jobs {
 protected:
  // Where the first job's folder belongs, there is a file.
  void SetUp() override {
    Jobs::SetUp();
    std::filesystem::create_directories(folder_ + "/data/jobs");
    ASSERT_TRUE(write_file_atomically(in_the_way(), "").ok());
    start();
    ASSERT_TRUE(join(daemon_).ok());
    id_ = submit(job_named("tiny"));
    ASSERT_EQ(id_, "tiny-1");
  }
  std::string in_the_way() const { return folder_ + "/data/jobs/tiny-1"; }
  // A daemon that takes nothing up speaks until the job's message says `part`.
  bool idles_until(const std::string& part) {
    for (int i = 0; i < 200; ++i) {
      EXPECT_TRUE(sync(daemon_, 50).ok());
      for (const v1::Assignment& assignment : daemon_.last.assignments()) EXPECT_TRUE(assignment.stop());
      if (absl::StrContains(get(id_).message(), part)) return true;
    }
    return false;
  }

  Daemon daemon_{"a", {}, {}, {}, 0};
  std::string id_;
};

TEST_F(JobsFolder, AJobWhoseFolderCannotBeMadeFailsWithTheReasonAndNoWorkerIsAskedToRunIt) {
  ASSERT_TRUE(idles_until("3 attempts in a row"));
  const v1::JobRecord record = get(id_);
  EXPECT_EQ(record.state(), J::FAILED);
  EXPECT_EQ(
      record.message(),
      "3 attempts in a row were lost without a new checkpoint or step; the last time, the scheduler cannot make the "
      "job's folder: cannot create " +
          in_the_way() + ": Not a directory");
  v1::WatchEventsRequest request;
  request.set_subject("jobs/" + id_);
  auto made = context();
  auto reader = jobs_->WatchEvents(made.get(), request);
  std::vector<std::string> closed;
  v1::WatchEventsResponse response;
  while (reader->Read(&response)) {
    for (const v1::Event& event : response.events()) {
      if (event.kind() == "closed") closed.push_back(event.message());
    }
  }
  EXPECT_TRUE(reader->Finish().ok());
  ASSERT_EQ(closed.size(), 3U);
  EXPECT_TRUE(absl::StrContains(closed[0], "the scheduler cannot make the job's folder")) << closed[0];
  const std::string next = submit(job_named("next"));
  train(daemon_, 1);
  EXPECT_TRUE(reaches(next, J::RUNNING));
}

TEST_F(JobsFolder, AJobStartsOnceItsFolderCanBeMade) {
  ASSERT_TRUE(idles_until("was lost: the scheduler cannot make the job's folder"));
  std::filesystem::remove(in_the_way());
  for (int i = 0; i < 100 && daemon_.held.empty(); ++i) {
    ASSERT_TRUE(sync(daemon_, 50).ok());
    const bool given = daemon_.last.assignments_size() == 1 && !daemon_.last.assignments(0).stop();
    if (given) train(daemon_, 1);
  }
  EXPECT_TRUE(reaches(id_, J::RUNNING));
  EXPECT_TRUE(std::filesystem::is_directory(in_the_way()));
}

}  // namespace
}  // namespace galleon::server
