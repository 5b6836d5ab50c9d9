// No method of any service tells a caller whether a job of a foreign project is there.
#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/net/certificates.h"
#include "common/net/tls_folder.h"
#include "galleon/v1/admin.grpc.pb.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "galleon/v1/queues.grpc.pb.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "server/api/server.h"
#include "tests/cluster/fake_planner.h"
#include "tests/patience.h"

namespace galleon {
namespace {

using Channel = std::shared_ptr<grpc::Channel>;

// What a caller learns: the code, the sentence with its details, and the answer.
struct Reply {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string error;
  std::string answer;
  bool operator==(const Reply&) const = default;
};

std::unique_ptr<grpc::ClientContext> context() {
  auto made = std::make_unique<grpc::ClientContext>();
  made->set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  return made;
}

Reply reply_of(const grpc::Status& status, const google::protobuf::Message& answer) {
  return {status.error_code(), status.error_message() + status.error_details(), answer.ShortDebugString()};
}

template <typename Service, typename Request, typename Response>
Reply unary(const Channel& channel,
            grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
            const Request& request) {
  Response response;
  const auto stub = Service::NewStub(channel);
  const grpc::Status status = (stub.get()->*method)(context().get(), request, &response);
  return reply_of(status, response);
}

template <typename Service, typename Request, typename Response>
Reply stream(const Channel& channel,
             std::unique_ptr<grpc::ClientReader<Response>> (Service::Stub::*method)(grpc::ClientContext*,
                                                                                    const Request&),
             const Request& request) {
  const auto stub = Service::NewStub(channel);
  const auto call = context();
  const auto reader = (stub.get()->*method)(call.get(), request);
  Response first;
  const bool answered = reader->Read(&first);
  if (answered) call->TryCancel();
  return reply_of(reader->Finish(), first);
}

template <typename Request>
Request named(const std::string& id) {
  Request request;
  request.set_name("jobs/" + id);
  return request;
}

template <typename Request>
Request worker() {
  Request request;
  request.set_name("workers/w");
  return request;
}

v1::CreateJobRequest job_in(const std::string& queue) {
  v1::CreateJobRequest request;
  request.mutable_job()->set_name(queue == "lab" ? "x" : "mine");
  request.mutable_job()->mutable_shape()->set_architecture("llama");
  request.mutable_job()->mutable_scheduling()->set_queue(queue);
  request.mutable_job()->mutable_scheduling()->set_preemptible(false);
  return request;
}

class ForeignJobs : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-foreign-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    ASSERT_NO_FATAL_FAILURE(write_planner(folder_));
    ASSERT_TRUE(init_tls(folder_ + "/tls", {}, absl::Hours(24)).ok());
    for (const char* name : {"ann", "eve"}) ASSERT_TRUE(add_client(folder_ + "/tls", name, absl::Hours(24)).ok());
    server::ServerOptions options;
    options.data = folder_ + "/data";
    options.listen = "127.0.0.1:0";
    options.metrics = "127.0.0.1:0";
    options.planner = folder_ + "/planner";
    options.tls = folder_ + "/tls/server";
    options.access = folder_ + "/access.yaml";
    options.scheduler.version = "1";
    options.scheduler.sync_ms = 60'000;  // the worker says nothing more, and stays as it is
    options.scheduler.queues = {{"arts", 1, 0, 0, "arts"}, {"lab", 1, 0, 0, "science"}};
    options.scheduler.queues[1].half_life_ms = 3'600'000;
    ASSERT_TRUE(write_file_atomically(options.access,
                                      "principals:\n"
                                      "  admin: {certificate: admin, roles: {'*': operator}}\n"
                                      "  worker: {certificate: worker, roles: {'*': worker}}\n"
                                      "  ann: {certificate: ann, roles: {science: submitter}}\n"
                                      "  eve: {certificate: eve, roles: {arts: operator}}\n")
                    .ok());
    absl::StatusOr<std::unique_ptr<server::Server>> started = server::Server::start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    foreign_ = start_job();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  Channel channel(const std::string& name) const {
    const absl::StatusOr<TlsFolder> folder = load_tls_folder(absl::StrCat(folder_, "/tls/", name));
    EXPECT_TRUE(folder.ok()) << folder.status();
    const std::string& address = server_->address();
    return grpc::CreateChannel(absl::StrCat("127.0.0.1:", address.substr(address.rfind(':') + 1)),
                               channel_credentials(*folder));
  }

  // A job of ann's that holds a slot of worker w.
  std::string start_job() {
    const auto workers = v1::WorkerService::NewStub(channel("worker"));
    v1::RegisterWorkerRequest w;
    w.mutable_worker()->set_worker_id("w");
    w.mutable_worker()->set_version("1");
    w.mutable_worker()->set_incarnation("i");
    w.mutable_worker()->set_slots(1);
    w.mutable_worker()->add_devices()->set_free_memory_bytes(1 << 30);
    w.mutable_worker()->mutable_devices(0)->set_kind("cpu");
    w.mutable_worker()->mutable_devices(0)->set_healthy(true);
    v1::RegisterWorkerResponse registered;
    EXPECT_TRUE(workers->RegisterWorker(context().get(), w, &registered).ok());
    v1::SyncWorkerRequest sync;
    sync.set_worker_id("w");
    sync.set_incarnation("i");
    sync.set_sequence(1);
    sync.set_session(registered.session());
    v1::SyncWorkerResponse synced;
    EXPECT_TRUE(workers->SyncWorker(context().get(), sync, &synced).ok());
    const auto jobs = v1::JobService::NewStub(channel("ann"));
    v1::JobRecord made;
    v1::CreateJobRequest request = job_in("lab");
    request.set_request_id("of-ann");
    EXPECT_TRUE(jobs->CreateJob(context().get(), request, &made).ok());
    EXPECT_TRUE(eventually([&] {
      v1::Worker seen;
      const auto admin = v1::WorkerService::NewStub(channel("admin"));
      return admin->GetWorker(context().get(), worker<v1::GetWorkerRequest>(), &seen).ok() && seen.attempts_size() == 1;
    }));
    return made.job_id();
  }

  std::string folder_;
  std::string foreign_;
  std::unique_ptr<server::Server> server_;
};

using Call = std::function<Reply(const Channel&, const std::string& id)>;

// Every method, by its full name, asked about a job of this id as far as it can be asked about one.
std::multimap<std::string, Call> calls(const std::string& jobs_folder) {
  using Jobs = v1::JobService;
  using Workers = v1::WorkerService;
  using Queues = v1::QueueService;
  std::multimap<std::string, Call> table;
  const auto job = [&table](const char* method, Call call) {
    table.emplace(absl::StrCat("galleon.v1.JobService.", method), std::move(call));
  };
  job("AttachFile", [](const Channel& c, const std::string& id) {
    v1::AttachFileRequest request;
    request.set_request_id(id);
    request.set_name("tokenizer.json");
    request.set_data("{}");
    return unary<Jobs>(c, &Jobs::Stub::AttachFile, request);
  });
  job("CreateJob", [](const Channel& c, const std::string& id) {
    v1::CreateJobRequest request = job_in("arts");
    request.set_validate_only(true);
    request.mutable_job()->mutable_scheduling()->add_after("any:" + id);
    return unary<Jobs>(c, &Jobs::Stub::CreateJob, request);
  });
  job("CreateJob", [jobs_folder](const Channel& c, const std::string& id) {
    v1::CreateJobRequest request = job_in("arts");
    request.set_validate_only(true);
    request.mutable_job()->mutable_checkpoint()->set_resume(absl::StrCat(jobs_folder, "/", id, "/checkpoints/step-1"));
    return unary<Jobs>(c, &Jobs::Stub::CreateJob, request);
  });
  job("ResolveJob", [](const Channel& c, const std::string& id) {
    v1::ResolveJobRequest request;
    *request.mutable_job() = job_in("arts").job();
    request.mutable_job()->clear_shape();
    request.mutable_job()->mutable_scheduling()->add_after(id);
    return unary<Jobs>(c, &Jobs::Stub::ResolveJob, request);
  });
  job("ResolveJob", [jobs_folder](const Channel& c, const std::string& id) {
    v1::ResolveJobRequest request;
    *request.mutable_job() = job_in("arts").job();
    request.mutable_job()->clear_shape();
    request.mutable_job()->mutable_checkpoint()->set_resume(absl::StrCat(jobs_folder, "/", id, "/checkpoints/step-1"));
    return unary<Jobs>(c, &Jobs::Stub::ResolveJob, request);
  });
  job("GetJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::GetJob, named<v1::GetJobRequest>(id));
  });
  job("ListJobs", [](const Channel& c, const std::string& id) {
    v1::ListJobsRequest request;
    request.set_job_id(id);
    return unary<Jobs>(c, &Jobs::Stub::ListJobs, request);
  });
  job("CancelJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::CancelJob, named<v1::CancelJobRequest>(id));
  });
  job("ReprioritizeJob", [](const Channel& c, const std::string& id) {
    auto request = named<v1::ReprioritizeJobRequest>(id);
    request.set_queue("arts");
    return unary<Jobs>(c, &Jobs::Stub::ReprioritizeJob, request);
  });
  job("DeleteJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::DeleteJob, named<v1::DeleteJobRequest>(id));
  });
  job("HoldJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::HoldJob, named<v1::HoldJobRequest>(id));
  });
  job("ReleaseJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::ReleaseJob, named<v1::ReleaseJobRequest>(id));
  });
  job("RequeueJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::RequeueJob, named<v1::RequeueJobRequest>(id));
  });
  job("ResumeJob", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::ResumeJob, named<v1::ResumeJobRequest>(id));
  });
  job("WatchJob", [](const Channel& c, const std::string& id) {
    return stream<Jobs>(c, &Jobs::Stub::WatchJob, named<v1::WatchJobRequest>(id));
  });
  job("ListAttempts", [](const Channel& c, const std::string& id) {
    v1::ListAttemptsRequest request;
    request.set_parent("jobs/" + id);
    return unary<Jobs>(c, &Jobs::Stub::ListAttempts, request);
  });
  job("ReadMetrics", [](const Channel& c, const std::string& id) {
    return unary<Jobs>(c, &Jobs::Stub::ReadMetrics, named<v1::ReadMetricsRequest>(id));
  });
  job("ReadLogs", [](const Channel& c, const std::string& id) {
    return stream<Jobs>(c, &Jobs::Stub::ReadLogs, named<v1::ReadLogsRequest>(id));
  });
  job("WatchEvents", [](const Channel& c, const std::string& id) {
    v1::WatchEventsRequest request;
    request.set_subject("jobs/" + id);
    return stream<Jobs>(c, &Jobs::Stub::WatchEvents, request);
  });
  job("WatchEvents", [](const Channel& c, const std::string&) {
    return stream<Jobs>(c, &Jobs::Stub::WatchEvents, v1::WatchEventsRequest());
  });
  const auto of_worker = [&table](const char* method, Call call) {
    table.emplace(absl::StrCat("galleon.v1.WorkerService.", method), std::move(call));
  };
  of_worker("RegisterWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::RegisterWorker, v1::RegisterWorkerRequest());
  });
  of_worker("SyncWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::SyncWorker, v1::SyncWorkerRequest());
  });
  of_worker("PublishCheckpoint", [](const Channel& c, const std::string& id) {
    v1::PublishCheckpointRequest request;
    request.mutable_id()->set_job_id(id);
    return unary<Workers>(c, &Workers::Stub::PublishCheckpoint, request);
  });
  of_worker("AppendLogs", [](const Channel& c, const std::string& id) {
    v1::AppendLogsRequest request;
    request.mutable_id()->set_job_id(id);
    return unary<Workers>(c, &Workers::Stub::AppendLogs, request);
  });
  of_worker("ListWorkers", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::ListWorkers, v1::ListWorkersRequest());
  });
  of_worker("GetWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::GetWorker, worker<v1::GetWorkerRequest>());
  });
  of_worker("CordonWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::CordonWorker, worker<v1::CordonWorkerRequest>());
  });
  of_worker("DrainWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::DrainWorker, worker<v1::DrainWorkerRequest>());
  });
  of_worker("UndrainWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::UndrainWorker, worker<v1::UndrainWorkerRequest>());
  });
  of_worker("ForgetWorker", [](const Channel& c, const std::string&) {
    return unary<Workers>(c, &Workers::Stub::ForgetWorker, worker<v1::ForgetWorkerRequest>());
  });
  const auto queue = [&table](const char* method, Call call) {
    table.emplace(absl::StrCat("galleon.v1.QueueService.", method), std::move(call));
  };
  queue("ListQueues", [](const Channel& c, const std::string&) {
    return unary<Queues>(c, &Queues::Stub::ListQueues, v1::ListQueuesRequest());
  });
  queue("GetQueue", [](const Channel& c, const std::string&) {
    v1::GetQueueRequest request;
    request.set_name("queues/lab");
    return unary<Queues>(c, &Queues::Stub::GetQueue, request);
  });
  queue("ListProjects", [](const Channel& c, const std::string&) {
    return unary<Queues>(c, &Queues::Stub::ListProjects, v1::ListProjectsRequest());
  });
  table.emplace("galleon.v1.AdminService.Backup", [](const Channel& c, const std::string&) {
    return stream<v1::AdminService>(c, &v1::AdminService::Stub::Backup, v1::BackupRequest());
  });
  table.emplace("galleon.v1.AdminService.Reload", [](const Channel& c, const std::string&) {
    return unary<v1::AdminService>(c, &v1::AdminService::Stub::Reload, v1::ReloadRequest());
  });
  return table;
}

Reply without(Reply reply, const std::string& id) {
  // Messages of different lengths have different bytes before them; ids here are of one length.
  for (std::string* text : {&reply.error, &reply.answer}) *text = absl::StrReplaceAll(*text, {{id, "ID"}});
  return reply;
}

// What changes from call to call in what a worker or a queue says.
std::string steady(const std::string& answer) {
  std::string text;
  for (const absl::string_view word : absl::StrSplit(answer, ' ')) {
    if (text.ends_with("last_seen_time_ms: ") || text.ends_with("revision: ") || text.ends_with("etag: "))
      absl::StrAppend(&text, "… ");
    else
      absl::StrAppend(&text, word, " ");
  }
  return text;
}

TEST_F(ForeignJobs, ThereIsNoWayToTellThemFromThoseThatAreNotThere) {
  const std::string absent = "x-9";
  ASSERT_EQ(foreign_.size(), absent.size());
  const std::multimap<std::string, Call> table = calls(folder_ + "/data/jobs");
  const Channel eve = channel("eve");
  for (const auto& [method, call] : table) {
    Reply there = call(eve, foreign_);
    Reply not_there = call(eve, absent);
    EXPECT_FALSE(absl::StrContains(there.answer, foreign_)) << method << ": " << there.answer;
    EXPECT_FALSE(absl::StrContains(not_there.answer, foreign_)) << method << ": " << not_there.answer;
    EXPECT_FALSE(absl::StrContains(not_there.error, foreign_)) << method << ": " << not_there.error;
    EXPECT_FALSE(absl::StrContains(there.answer, "ann")) << method << ": " << there.answer;
    there.answer = steady(there.answer);
    not_there.answer = steady(not_there.answer);
    EXPECT_EQ(without(there, foreign_).code, without(not_there, absent).code) << method << ": " << there.error;
    EXPECT_EQ(without(there, foreign_).error, without(not_there, absent).error) << method;
    EXPECT_EQ(without(there, foreign_).answer, without(not_there, absent).answer) << method;
  }
  // A request that ann has made is no way either.
  v1::CreateJobRequest again = job_in("arts");
  again.set_request_id("of-ann");
  const Reply reused = unary<v1::JobService>(eve, &v1::JobService::Stub::CreateJob, again);
  EXPECT_EQ(reused.code, grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_FALSE(absl::StrContains(reused.error, foreign_)) << reused.error;
}

TEST_F(ForeignJobs, TheTableHasEveryMethodOfEveryService) {
  const std::multimap<std::string, Call> table = calls("/jobs");
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  for (const char* name : {"JobService", "WorkerService", "QueueService", "AdminService"}) {
    const auto* service = pool->FindServiceByName(absl::StrCat("galleon.v1.", name));
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i)
      EXPECT_TRUE(table.contains(service->method(i)->full_name())) << service->method(i)->full_name();
  }
}

}  // namespace
}  // namespace galleon
