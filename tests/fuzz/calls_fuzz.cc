// Any calls of all the services of a scheduler, by clients and by workers, with messages that mean something but for
// some changes. It never ends, answers in time, tells of all that it has stored, and starts again from its journal.
//
// The input is a list of calls: which method, how many changes (0 to 7), and four bytes for each change.
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fuzz_folder.h"
#include "galleon/v1/admin.pb.h"
#include "galleon/v1/groups.pb.h"
#include "galleon/v1/jobs.pb.h"
#include "galleon/v1/queues.pb.h"
#include "galleon/v1/workers.pb.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "message_changes.h"
#include "proto/jobfile/jobfile.h"
#include "server/api/server.h"

namespace {

using galleon::v1::Job;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr int kCalls = 4;           // of one input
constexpr int kLookEvery = 64;      // inputs
constexpr int kRestartEvery = 512;  // inputs
constexpr int kBeginEvery = 4'096;  // inputs; what has been stored is bounded by it
constexpr auto kPatience = std::chrono::seconds(60);

constexpr char kJobFile[] = R"(
name: small
task: pretrain
model: {source: "preset:tiny"}
tokenizer: /data/tokenizer.model
data: {train: ["/data/train.txt"]}
optimizer: {galore: {rank: 16}}
training: {steps: 10}
)";

std::vector<const MethodDescriptor*> methods() {
  std::vector<const MethodDescriptor*> all;
  for (const auto* file :
       {galleon::v1::CreateJobRequest::descriptor()->file(), galleon::v1::Group::descriptor()->file(),
        galleon::v1::Worker::descriptor()->file(), galleon::v1::Queue::descriptor()->file(),
        galleon::v1::ReloadRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s)
      for (int m = 0; m < file->service(s)->method_count(); ++m) all.push_back(file->service(s)->method(m));
  }
  return all;
}

std::unique_ptr<Message> new_message(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

Job small_job() {
  absl::StatusOr<Job> job = galleon::parse_job(kJobFile, "job.yaml", "");
  if (!job.ok()) __builtin_trap();
  galleon::v1::ModelShape& shape = *job->mutable_shape();
  shape.set_architecture("llama");
  shape.set_vocabulary(512);
  shape.set_hidden(64);
  shape.set_intermediate(128);
  shape.set_layers(2);
  shape.set_heads(4);
  shape.set_parameters(100'000);
  return *std::move(job);
}

// A scheduler in this process with a worker that holds what it is told to.
class World {
 public:
  World() {
    galleon::v1::MemoryPlan plan;
    plan.add_ranks()->set_peak_bytes(1 << 20);
    folder_.write("plan", plan.SerializeAsString());
    folder_.write("planner", "#!/bin/sh\nexec cat " + folder_.path() + "/plan\n");
    if (::chmod((folder_.path() + "/planner").c_str(), 0755) != 0) __builtin_trap();
    start();
    for (int i = 0; i < 3; ++i) {
      galleon::v1::CreateJobRequest request;
      *request.mutable_job() = small_job();
      galleon::v1::JobRecord record;
      expect(call("/galleon.v1.JobService/CreateJob", request, &record));
      words_.push_back("jobs/" + record.job_id());
    }
    honest_sync();
  }

  void restart() {
    server_.reset();
    start();
  }

  // One call of the input; what is left of it.
  const uint8_t* one_call(const uint8_t* data, const uint8_t* end) {
    static const std::vector<const MethodDescriptor*>& all = *new std::vector<const MethodDescriptor*>(methods());
    const MethodDescriptor* method = all[data[0] % all.size()];
    const int changes = data[1] % 8;
    data += 2;
    std::unique_ptr<Message> request = given(*method);
    for (int i = 0; i < changes && end - data >= 4; ++i, data += 4) galleon::change_message(*request, data, words_);
    const std::string path = "/" + method->service()->full_name() + "/" + method->name();
    std::unique_ptr<Message> response = new_message(method->output_type());
    const bool waits = method->server_streaming() || method->name() == "ResolveJob" || method->name() == "SyncWorker";
    const grpc::Status status = call(path, *request, response.get(), waits);
    if (!waits && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) __builtin_trap();
    // The planner here knows jobs of one rank.
    const bool other_ranks = status.error_message().find("is not a plan of") != std::string::npos;
    if ((status.error_code() == grpc::StatusCode::INTERNAL && !other_ranks) ||
        status.error_code() == grpc::StatusCode::UNKNOWN) {
      std::fprintf(stderr, "%s: %s\n", path.c_str(), status.error_message().c_str());
      __builtin_trap();
    }
    if (status.ok() && method->name() == "CreateJob") {
      // The newest three are spoken of.
      words_.erase(words_.end() - 3);
      words_.push_back("jobs/" + static_cast<const galleon::v1::JobRecord&>(*response).job_id());
    }
    return data;
  }

  void honest_sync() {
    galleon::v1::SyncWorkerResponse response;
    const grpc::Status status = call("/galleon.v1.WorkerService/SyncWorker", sync(), &response);
    if (!status.ok()) return register_worker();
    ranks_.clear();
    for (const galleon::v1::Assignment& assignment : response.assignments()) {
      galleon::v1::RankReport rank;
      *rank.mutable_id() = assignment.id();
      rank.set_rank(assignment.rank());
      rank.set_phase(assignment.stop() ? galleon::v1::RankReport::EXITED : galleon::v1::RankReport::RUNNING);
      rank.mutable_progress()->set_step(++step_);
      rank.mutable_progress()->set_loss(3);
      ranks_.push_back(std::move(rank));
    }
  }

  // All that is stored can be told.
  void look() {
    galleon::v1::ListJobsRequest request;
    galleon::v1::ListJobsResponse response;
    do {
      request.set_page_token(response.next_page_token());
      response.Clear();
      expect(call("/galleon.v1.JobService/ListJobs", request, &response));
      for (const galleon::v1::JobRecord& listed : response.jobs()) {
        galleon::v1::GetJobRequest get;
        get.set_name("jobs/" + listed.job_id());
        galleon::v1::JobRecord record;
        expect(call("/galleon.v1.JobService/GetJob", get, &record));
        galleon::v1::ListAttemptsRequest attempts;
        attempts.set_parent("jobs/" + listed.job_id());
        galleon::v1::ListAttemptsResponse all;
        expect(call("/galleon.v1.JobService/ListAttempts", attempts, &all));
      }
    } while (!response.next_page_token().empty());
    galleon::v1::ListWorkersResponse workers;
    expect(call("/galleon.v1.WorkerService/ListWorkers", galleon::v1::ListWorkersRequest(), &workers));
    galleon::v1::ListGroupsResponse groups;
    expect(call("/galleon.v1.GroupService/ListGroups", galleon::v1::ListGroupsRequest(), &groups));
    galleon::v1::ListQueuesResponse queues;
    expect(call("/galleon.v1.QueueService/ListQueues", galleon::v1::ListQueuesRequest(), &queues));
  }

 private:
  void start() {
    galleon::server::ServerOptions options;
    options.data = folder_.path() + "/data";
    options.listen = "127.0.0.1:0";
    options.metrics = "127.0.0.1:0";
    options.requests_per_second = 1e9;
    options.planner = folder_.path() + "/planner";
    options.validate_job = galleon::validate_job;
    options.on_fatal = [](const absl::Status&) { __builtin_trap(); };
    std::error_code error;
    std::filesystem::create_directories(options.data, error);
    absl::StatusOr<std::unique_ptr<galleon::server::Server>> server = galleon::server::Server::start(options);
    if (!server.ok()) {
      std::fprintf(stderr, "%s\n", std::string(server.status().message()).c_str());
      __builtin_trap();
    }
    server_ = *std::move(server);
    grpc::ChannelArguments apart;
    apart.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    apart.SetMaxReceiveMessageSize(64 << 20);
    stub_ = std::make_unique<grpc::GenericStub>(
        grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), apart));
    register_worker();
  }

  void register_worker() {
    galleon::v1::RegisterWorkerResponse response;
    // Refused where a call of the input has taken its name.
    (void)call("/galleon.v1.WorkerService/RegisterWorker", registration(), &response);
    session_ = response.session();
    ranks_.clear();
  }

  galleon::v1::RegisterWorkerRequest registration() {
    galleon::v1::RegisterWorkerRequest request;
    galleon::v1::Worker& worker = *request.mutable_worker();
    worker.set_worker_id("w1");
    worker.set_incarnation("one");
    worker.set_slots(4);
    worker.set_host("127.0.0.1");
    for (uint32_t i = 0; i < 4; ++i) {
      galleon::v1::DeviceInfo& device = *worker.add_devices();
      device.set_index(i);
      device.set_kind("cpu");
      device.set_memory_bytes(8 << 20);
      device.set_free_memory_bytes(8 << 20);
      device.set_healthy(true);
    }
    return request;
  }

  galleon::v1::SyncWorkerRequest sync() {
    galleon::v1::SyncWorkerRequest request;
    request.set_worker_id("w1");
    request.set_incarnation("one");
    request.set_sequence(++sequence_);
    request.set_session(session_);
    for (const galleon::v1::RankReport& rank : ranks_) *request.add_ranks() = rank;
    return request;
  }

  // What an honest caller would send.
  std::unique_ptr<Message> given(const MethodDescriptor& method) {
    std::unique_ptr<Message> request = new_message(method.input_type());
    const std::string& name = method.name();
    if (name == "SyncWorker") {
      request->CopyFrom(sync());
    } else if (name == "RegisterWorker") {
      galleon::v1::RegisterWorkerRequest other = registration();
      other.mutable_worker()->set_worker_id("w2");
      request->CopyFrom(other);
    } else if (name == "CreateJob") {
      galleon::v1::CreateJobRequest create;
      *create.mutable_job() = small_job();
      request->CopyFrom(create);
    } else if (name == "ResolveJob") {
      galleon::v1::ResolveJobRequest resolve;
      *resolve.mutable_job() = small_job();
      resolve.mutable_job()->clear_shape();
      request->CopyFrom(resolve);
    } else if (name == "CreateGroup") {
      galleon::v1::CreateGroupRequest group;
      group.set_group_name("some");
      for (int i = 0; i < 2; ++i) *group.add_members()->mutable_job() = small_job();
      request->CopyFrom(group);
    } else {
      // Most of the others speak of a job, a worker, an attempt.
      const auto* type = method.input_type();
      const google::protobuf::Reflection& reflection = *request->GetReflection();
      const auto* named = type->FindFieldByName("name");
      if (named == nullptr) named = type->FindFieldByName("parent");
      if (named != nullptr) {
        const std::string& service = method.service()->name();
        reflection.SetString(request.get(), named,
                             service == "JobService"      ? words_.back()
                             : service == "WorkerService" ? "workers/w1"
                                                          : "queues/default");
      }
      if (const auto* id = type->FindFieldByName("worker_id"); id != nullptr && !id->is_repeated())
        reflection.SetString(request.get(), id, "w1");
      if (const auto* id = type->FindFieldByName("id");
          id != nullptr && id->message_type() == galleon::v1::AttemptId::descriptor() && !ranks_.empty())
        reflection.MutableMessage(request.get(), id)->CopyFrom(ranks_.front().id());
    }
    return request;
  }

  grpc::Status call(const std::string& path, const Message& request, Message* response, bool waits = false) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + (waits ? std::chrono::milliseconds(20) : kPatience));
    grpc::ByteBuffer sent;
    bool own = false;
    grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::MessageLite>(request, &sent, &own);
    grpc::CompletionQueue queue;
    const auto rpc = stub_->PrepareUnaryCall(&context, path, sent, &queue);
    grpc::ByteBuffer received;
    grpc::Status status;
    rpc->StartCall();
    rpc->Finish(&received, &status, this);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    if (status.ok() && received.Valid()) {
      grpc::ProtoBufferReader reader(&received);
      if (!response->ParseFromZeroCopyStream(&reader)) __builtin_trap();
    }
    return status;
  }

  static void expect(const grpc::Status& status) {
    if (status.ok()) return;
    std::fprintf(stderr, "%s\n", status.error_message().c_str());
    __builtin_trap();
  }

  const galleon::FuzzFolder folder_;
  std::unique_ptr<galleon::server::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
  std::vector<std::string> words_ = {"",  "default", "w1",  "w2", "jobs/x", "workers/w1", "queues/default",
                                     "*", "\n",      "a=b", "1",  "-1",     "QUEUED",     "name"};
  std::vector<galleon::v1::RankReport> ranks_;
  uint64_t sequence_ = 0;
  uint64_t session_ = 0;
  uint64_t step_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<World>& world = *new std::unique_ptr<World>();
  static int inputs = 0;
  if (inputs % kBeginEvery == 0) {
    world.reset();
    world = std::make_unique<World>();
  } else if (inputs % kRestartEvery == 0) {
    world->restart();
  }
  ++inputs;
  const uint8_t* const end = data + size;
  for (int i = 0; i < kCalls && end - data >= 2; ++i) data = world->one_call(data, end);
  world->honest_sync();
  if (inputs % kLookEvery == 0) world->look();
  return 0;
}
