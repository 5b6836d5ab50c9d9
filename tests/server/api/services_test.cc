// Queues, priorities, orders to workers, events that are told once, and backups, through the real services.
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "galleon/v1/admin.grpc.pb.h"
#include "galleon/v1/queues.grpc.pb.h"
#include "server/store/backup.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

class Services : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    options_.scheduler.queues = {{"default", 1, 0, 0, "default"}, {"small", 1, 0, 1, "default"}};
  }
  static std::string reason_of(const grpc::Status& status) {
    v1::ErrorInfo info;
    EXPECT_TRUE(info.ParseFromString(details(status).details(0).value()));
    return info.reason();
  }
  // Kinds of the events of a subject after a revision.
  std::vector<std::string> kinds(const std::string& subject, uint64_t after, uint64_t* last = nullptr) {
    v1::WatchEventsRequest request;
    request.set_subject(subject);
    request.set_after_revision(after);
    auto made = context();
    auto reader = jobs_->WatchEvents(made.get(), request);
    std::vector<std::string> found;
    v1::WatchEventsResponse response;
    while (reader->Read(&response)) {
      for (const v1::Event& event : response.events()) found.push_back(event.kind());
      if (last != nullptr) *last = response.revision();
    }
    EXPECT_TRUE(reader->Finish().ok());
    return found;
  }
};

TEST_F(Services, PriorityAndQueueCanBeChangedWhileAJobWaits) {
  start();
  const std::string first = submit(job_named("first"));
  const std::string second = submit(job_named("second"));
  v1::ReprioritizeJobRequest request;
  request.set_name("jobs/" + second);
  request.set_priority(5);
  request.set_etag("0");
  v1::JobRecord record;
  EXPECT_EQ(reason_of(jobs_->ReprioritizeJob(context().get(), request, &record)), "ETAG_MISMATCH");
  request.set_etag(get(second).etag());
  ASSERT_TRUE(jobs_->ReprioritizeJob(context().get(), request, &record).ok());
  EXPECT_EQ(record.priority(), 5);
  EXPECT_EQ(record.queue_position(), 1U);
  EXPECT_EQ(get(first).queue_position(), 2U);
  request.clear_etag();
  request.set_queue("none");
  const grpc::Status unknown = jobs_->ReprioritizeJob(context().get(), request, &record);
  EXPECT_EQ(unknown.error_code(), grpc::INVALID_ARGUMENT);
  v1::BadRequest bad;
  ASSERT_TRUE(bad.ParseFromString(details(unknown).details(1).value()));
  EXPECT_EQ(bad.field_violations(0).field(), "queue");
}

TEST_F(Services, QueuesAreListedInPagesWithWhatTheyUse) {
  start();
  submit(job_named("x"));
  auto queues = v1::QueueService::NewStub(channel_);
  v1::ListQueuesRequest request;
  request.set_page_size(1);
  v1::ListQueuesResponse page;
  ASSERT_TRUE(queues->ListQueues(context().get(), request, &page).ok());
  ASSERT_EQ(page.queues_size(), 1);
  EXPECT_EQ(page.queues(0).queued(), 1U);
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(queues->ListQueues(context().get(), request, &page).ok());
  ASSERT_EQ(page.queues_size(), 1);
  EXPECT_EQ(page.queues(0).name(), "queues/small");
  EXPECT_EQ(page.queues(0).limit_slots(), 1U);
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("x");
  EXPECT_EQ(queues->ListQueues(context().get(), request, &page).error_code(), grpc::INVALID_ARGUMENT);
  v1::GetQueueRequest get_queue;
  get_queue.set_name("queues/none");
  v1::Queue queue;
  EXPECT_EQ(reason_of(queues->GetQueue(context().get(), get_queue, &queue)), "QUEUE_NOT_FOUND");
}

TEST_F(Services, AJobThatCanNeverFitIsRefusedBeforeAndAtSubmit) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a, 1).ok());
  v1::JobRecord record;
  for (const bool validate_only : {true, false}) {
    const grpc::Status refused = create(job_named("x", 2), record, "", validate_only);
    EXPECT_EQ(refused.error_code(), grpc::FAILED_PRECONDITION);
    EXPECT_EQ(reason_of(refused), "NEVER_FITS");
    EXPECT_TRUE(absl::StrContains(refused.error_message(), "1 rank of that size would fit")) << refused.error_message();
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/data/jobs/x-1"));
}

TEST_F(Services, ListsAreFilteredByQueueAndPrefix) {
  start();
  submit(job_named("aa"));
  v1::Job job = job_named("ab");
  job.mutable_scheduling()->set_queue("small");
  submit(job);
  v1::ListJobsRequest request;
  v1::ListJobsResponse response;
  request.set_queue("small");
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &response).ok());
  ASSERT_EQ(response.jobs_size(), 1);
  EXPECT_EQ(response.jobs(0).job_id(), "ab-2");
  request.clear_queue();
  request.set_name_prefix("aa");
  ASSERT_TRUE(jobs_->ListJobs(context().get(), request, &response).ok());
  ASSERT_EQ(response.jobs_size(), 1);
  EXPECT_EQ(response.jobs(0).job_id(), "aa-1");
}

TEST_F(Services, AWorkerIsCordonedDrainedAndPutBack) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a, 1).ok());
  const std::string id = submit(job_named("x"));
  train(a, 3);
  v1::DrainWorkerRequest drain;
  drain.set_name("workers/a");
  drain.set_reason("new disk");
  v1::Worker worker;
  ASSERT_TRUE(workers_->DrainWorker(context().get(), drain, &worker).ok());
  EXPECT_EQ(worker.state(), v1::Worker::DRAINING);
  EXPECT_EQ(worker.message(), "hands back 1 rank: new disk");
  EXPECT_EQ(get(id).state(), J::PREEMPTING);
  finish(a, v1::Finished::STOPPED);
  EXPECT_EQ(get(id).state(), J::QUEUED);
  ASSERT_TRUE(sync(a).ok());
  stop();
  start();
  ASSERT_TRUE(join(a, 1).ok());
  EXPECT_EQ(get(id).state(), J::QUEUED);
  v1::ListWorkersRequest list;
  list.add_states(v1::Worker::DRAINED);
  v1::ListWorkersResponse listed;
  ASSERT_TRUE(workers_->ListWorkers(context().get(), list, &listed).ok());
  EXPECT_EQ(listed.workers_size(), 1);
  v1::UndrainWorkerRequest undrain;
  undrain.set_name("a");
  ASSERT_TRUE(workers_->UndrainWorker(context().get(), undrain, &worker).ok());
  EXPECT_TRUE(reaches(id, J::RESERVED));
  undrain.set_name("b");
  EXPECT_EQ(reason_of(workers_->UndrainWorker(context().get(), undrain, &worker)), "WORKER_NOT_FOUND");
}

TEST_F(Services, EventsAreToldOnceAndGoOnFromARevisionOverARestart) {
  start();
  const std::string id = submit(job_named("x"));
  uint64_t revision = 0;
  EXPECT_EQ(kinds("jobs/" + id, 0, &revision), std::vector<std::string>{"created"});
  stop();
  start();
  EXPECT_TRUE(kinds("jobs/" + id, revision).empty());
  v1::CancelJobRequest cancel;
  cancel.set_name("jobs/" + id);
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), cancel, &record).ok());
  EXPECT_EQ(kinds("jobs/" + id, revision), std::vector<std::string>{"cancelled"});
  EXPECT_EQ(kinds("", 0), (std::vector<std::string>{"created", "cancelled"}));
}

TEST_F(Services, AWatchThatGoesOnFromARevisionLosesNoEvent) {
  start();
  const std::string id = submit(job_named("x"));
  v1::WatchJobRequest request;
  request.set_name("jobs/" + id);
  uint64_t revision = get(id).revision();
  // It broke off here; three changes come while nobody watches.
  for (int priority : {1, 2, 3}) {
    v1::ReprioritizeJobRequest change;
    change.set_name("jobs/" + id);
    change.set_priority(priority);
    v1::JobRecord record;
    ASSERT_TRUE(jobs_->ReprioritizeJob(context().get(), change, &record).ok());
  }
  request.set_after_revision(revision);
  auto made = context();
  auto reader = jobs_->WatchJob(made.get(), request);
  v1::WatchJobResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.job().priority(), 3);
  ASSERT_EQ(response.events_size(), 3);
  EXPECT_EQ(response.events(0).message(), "queue default, priority 1");
  made->TryCancel();
  while (reader->Read(&response)) {
  }
  (void)reader->Finish();
  // The newest hundred are kept; what came before them cannot be told any more, and that is said.
  for (int i = 0; i < 120; ++i) {
    v1::ReprioritizeJobRequest change;
    change.set_name("jobs/" + id);
    change.set_priority(10 + i);
    v1::JobRecord record;
    ASSERT_TRUE(jobs_->ReprioritizeJob(context().get(), change, &record).ok());
  }
  auto again = context();
  auto late = jobs_->WatchJob(again.get(), request);
  EXPECT_FALSE(late->Read(&response));
  EXPECT_EQ(late->Finish().error_code(), grpc::OUT_OF_RANGE);
}

TEST_F(Services, ABackupOverTheWireIsTheJournalAndCanBeRestored) {
  start();
  const std::string id = submit(job_named("x"));
  auto admin = v1::AdminService::NewStub(channel_);
  auto made = context();
  auto reader = admin->Backup(made.get(), v1::BackupRequest());
  v1::BackupResponse piece;
  std::string bytes;
  while (reader->Read(&piece)) bytes += piece.data();
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(bytes.size(), piece.total_bytes());
  EXPECT_TRUE(std::filesystem::is_empty(folder_ + "/data/backup"));
  submit(job_named("later"));
  stop();
  ASSERT_TRUE(write_file_atomically(folder_ + "/backup.db", bytes).ok());
  ASSERT_TRUE(restore_backup(folder_ + "/backup.db", folder_ + "/data").ok());
  start();
  EXPECT_EQ(get(id).state(), J::QUEUED);
  v1::ListJobsResponse list;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &list).ok());
  EXPECT_EQ(list.jobs_size(), 1);
}

TEST_F(Services, ATextThatIsTooLongIsRefusedWithTheLimit) {
  start();
  v1::DrainWorkerRequest drain;
  drain.set_name("a");
  drain.set_reason(std::string(2000, 'x'));
  v1::Worker worker;
  const grpc::Status refused = workers_->DrainWorker(context().get(), drain, &worker);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(absl::StrContains(refused.error_message(), "at most 1024"));
  v1::CancelJobRequest cancel;
  cancel.set_name("jobs/" + submit(job_named("x")));
  cancel.set_reason(std::string(2000, 'x'));
  v1::JobRecord record;
  EXPECT_EQ(jobs_->CancelJob(context().get(), cancel, &record).error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace galleon::server
