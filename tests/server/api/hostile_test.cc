// Input that nobody sends by mistake: every field of every request with values at and beyond its limits, bytes that are
// no message, clients that connect and stall. The scheduler refuses or takes it, serves the others, and can still read
// its journal afterwards.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <random>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "galleon/v1/admin.pb.h"
#include "galleon/v1/groups.pb.h"
#include "galleon/v1/queues.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/dynamic_message.h"
#include "google/protobuf/message.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::Reflection;

std::vector<const MethodDescriptor*> all_methods() {
  // Files of all services are linked in, so that each is found by the name of one of its messages.
  std::vector<const MethodDescriptor*> methods;
  for (const Descriptor* message :
       {v1::CreateJobRequest::descriptor(), v1::SyncWorkerRequest::descriptor(), v1::ListQueuesRequest::descriptor(),
        v1::CreateGroupRequest::descriptor(), v1::BackupRequest::descriptor()}) {
    for (int s = 0; s < message->file()->service_count(); ++s) {
      for (int m = 0; m < message->file()->service(s)->method_count(); ++m)
        methods.push_back(message->file()->service(s)->method(m));
    }
  }
  return methods;
}

// Requests that differ from `base` in one field each, at any depth.
class Variants {
 public:
  Variants(const Message& base, std::function<void(const std::string&, const Message&)> use)
      : whole_(base.New()), use_(std::move(use)) {
    whole_->CopyFrom(base);
    vary(*whole_, "", 0);
  }

 private:
  void say(const std::string& path, const std::string& what) { use_(path + ": " + what, *whole_); }

  void vary(Message& message, const std::string& path, int depth) {
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message.GetDescriptor()->field(i);
      const std::string name = absl::StrCat(path, path.empty() ? "" : ".", field->name());
      std::unique_ptr<Message> before(message.New());
      before->CopyFrom(message);
      vary_field(message, reflection, field, name, depth);
      message.CopyFrom(*before);
    }
  }

  void vary_field(Message& message, const Reflection& reflection, const FieldDescriptor* field, const std::string& name,
                  int depth) {
#ifdef __SANITIZE_THREAD__
    // Its maps have members there that those of the distribution's library lack.
    if (field->is_map()) return;
#endif
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Message* inner =
          field->is_repeated() ? reflection.AddMessage(&message, field) : reflection.MutableMessage(&message, field);
      say(name, "present and empty");
      if (depth < 4) vary(*inner, name, depth + 1);
      if (!field->is_repeated()) return;
      for (int copies = 1; copies < 2'000; ++copies) reflection.AddMessage(&message, field);
      say(name, "2000 times, empty");
      return;
    }
    const auto set = [&](const auto& value, const auto& setter, const auto& adder) {
      if (field->is_repeated()) {
        reflection.ClearField(&message, field);
        (reflection.*adder)(&message, field, value);
      } else {
        (reflection.*setter)(&message, field, value);
      }
    };
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING: {
        std::vector<std::string> values = {"",
                                           "../../etc/passwd",
                                           "jobs/",
                                           "a\nb\tc\"d\\e",
                                           "{{7*7}}$(true)`true`",
                                           std::string(3, '\0') + "x",
                                           std::string(70'000, 'a'),
                                           "\xF0\x9F\x8D\x89"};
        if (field->type() == FieldDescriptor::TYPE_BYTES) values.emplace_back("\xff\xfe\x80\x00", 4);
        for (const std::string& value : values) {
          set(value, &Reflection::SetString, &Reflection::AddString);
          say(name, absl::StrCat(value.size(), " bytes"));
        }
        break;
      }
      case FieldDescriptor::CPPTYPE_INT32:
        for (const int32_t value : {INT32_MIN, -1, INT32_MAX})
          set(value, &Reflection::SetInt32, &Reflection::AddInt32), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        for (const int64_t value : {INT64_MIN, int64_t{-1}, INT64_MAX})
          set(value, &Reflection::SetInt64, &Reflection::AddInt64), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        for (const uint32_t value : {0U, 1U, UINT32_MAX})
          set(value, &Reflection::SetUInt32, &Reflection::AddUInt32), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        for (const uint64_t value : {uint64_t{0}, uint64_t{1} << 63, UINT64_MAX})
          set(value, &Reflection::SetUInt64, &Reflection::AddUInt64), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        for (const double value : {-0.0, -1e308, 1e308, HUGE_VAL, std::nan("")})
          set(value, &Reflection::SetDouble, &Reflection::AddDouble), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_FLOAT:
        for (const float value : {-1e38F, HUGE_VALF, std::nanf("")})
          set(value, &Reflection::SetFloat, &Reflection::AddFloat), say(name, absl::StrCat(value));
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        for (const bool value : {false, true})
          set(value, &Reflection::SetBool, &Reflection::AddBool), say(name, value ? "true" : "false");
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        for (const int value : {-1, 0, 1, 4711})
          set(value, &Reflection::SetEnumValue, &Reflection::AddEnumValue), say(name, absl::StrCat(value));
        break;
      default:
        FAIL() << field->full_name();
    }
  }

  std::unique_ptr<Message> whole_;
  std::function<void(const std::string&, const Message&)> use_;
};

class Hostile : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    set_planner("cat " + folder_ + "/plan.0");
    options_.requests_per_second = 1e6;  // or most would be refused for their number alone
    start();
    generic_ = std::make_unique<grpc::GenericStub>(channel_);
    id_ = submit(job_named("victim"));
    ASSERT_TRUE(join(daemon_).ok());
  }

  // Sends bytes as the one request of a call, reads whatever comes, gives up after `patience`.
  grpc::Status send(const MethodDescriptor& method, const std::string& bytes,
                    absl::Duration patience = absl::Seconds(5)) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + patience));
    grpc::CompletionQueue queue;
    const auto call =
        generic_->PrepareCall(&context, absl::StrCat("/", method.service()->full_name(), "/", method.name()), &queue);
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    call->StartCall(nullptr);
    const grpc::Slice slice(bytes);
    if (wait()) {
      call->WriteLast(grpc::ByteBuffer(&slice, 1), {}, nullptr);
      (void)wait();
      grpc::ByteBuffer answer;
      for (bool more = true; more;) {
        call->Read(&answer, nullptr);
        more = wait();
        if (more && method.server_streaming()) context.TryCancel();  // it goes on for ever otherwise
      }
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    (void)wait();
    queue.Shutdown();
    return status;
  }

  // A request that is right but for what a test changes.
  std::unique_ptr<Message> sound(const MethodDescriptor& method) {
    std::unique_ptr<Message> request(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(method.input_type())->New());
    if (auto* create = dynamic_cast<v1::CreateJobRequest*>(request.get())) *create->mutable_job() = job_named("fuzz");
    if (auto* get = dynamic_cast<v1::GetJobRequest*>(request.get())) get->set_name("jobs/" + id_);
    if (auto* cancel = dynamic_cast<v1::CancelJobRequest*>(request.get())) cancel->set_name("jobs/none");
    if (auto* watch = dynamic_cast<v1::WatchJobRequest*>(request.get())) watch->set_name("jobs/" + id_);
    if (auto* logs = dynamic_cast<v1::ReadLogsRequest*>(request.get())) logs->set_name("jobs/" + id_);
    if (auto* attempts = dynamic_cast<v1::ListAttemptsRequest*>(request.get())) attempts->set_parent("jobs/" + id_);
    if (auto* sync = dynamic_cast<v1::SyncWorkerRequest*>(request.get())) {
      sync->set_worker_id(daemon_.id);
      sync->set_incarnation("i-" + daemon_.id);
      sync->set_session(daemon_.registration.session());
      sync->set_sequence(++daemon_.sequence);
    }
    if (auto* known = dynamic_cast<v1::RegisterWorkerRequest*>(request.get())) {
      known->mutable_worker()->set_worker_id("other");
      known->mutable_worker()->set_version("1");
      known->mutable_worker()->set_incarnation("i-other");
    }
    return request;
  }

  void expect_healthy(const std::string& after) {
    v1::GetJobRequest request;
    request.set_name("jobs/" + id_);
    v1::JobRecord record;
    const grpc::Status status = jobs_->GetJob(context().get(), request, &record);
    ASSERT_TRUE(status.ok()) << "after " << after << ": " << status.error_message();
    ASSERT_EQ(record.job_id(), id_) << "after " << after;
  }

  std::unique_ptr<grpc::GenericStub> generic_;
  std::string id_;
  Daemon daemon_{"daemon", {}, {}, {}, 0};
};

// What a client's mistake may be answered with; UNKNOWN, INTERNAL or DATA_LOSS would be ours.
bool names_a_mistake(grpc::StatusCode code) {
  static const std::set<grpc::StatusCode> ours = {grpc::UNKNOWN, grpc::INTERNAL, grpc::DATA_LOSS, grpc::UNIMPLEMENTED};
  return !ours.contains(code);
}

TEST_F(Hostile, EveryFieldOfEveryRequestAtItsLimitsIsTakenOrRefusedAndTheJournalStaysReadable) {
  std::map<grpc::StatusCode, int> answers;
  for (const MethodDescriptor* method : all_methods()) {
    const std::unique_ptr<Message> base = sound(*method);
    Variants(*base, [&](const std::string& what, const Message& request) {
      // A long wait is what one of the variants asks for.
      const grpc::Status status = send(*method, request.SerializeAsString(), absl::Milliseconds(700));
      ++answers[status.error_code()];
      EXPECT_NE(status.error_code(), grpc::RESOURCE_EXHAUSTED)
          << method->full_name() << " " << what << ": " << status.error_message();
      EXPECT_TRUE(names_a_mistake(status.error_code()))
          << method->full_name() << " " << what << ": " << status.error_code() << " " << status.error_message();
      EXPECT_LE(status.error_message().size(), 4'096U) << method->full_name() << " " << what;
    });
    expect_healthy(method->full_name());
  }
  // Many of each: what is refused before it is looked at would prove nothing.
  EXPECT_GT(answers[grpc::OK], 300);
  EXPECT_GT(answers[grpc::INVALID_ARGUMENT], 20);
  EXPECT_GT(answers[grpc::NOT_FOUND], 100);
  // What was taken is durable, and can be replayed.
  stop();
  start();
  expect_healthy("a restart");
}

TEST_F(Hostile, BytesThatAreNoMessageAreRefusedWithoutHarm) {
  std::mt19937 random(7);
  for (const MethodDescriptor* method : all_methods()) {
    const std::string sane = sound(*method)->SerializeAsString();
    for (int i = 0; i < 30; ++i) {
      std::string bytes = i % 2 == 0 ? sane : std::string(random() % 300, '\0');
      for (int flips = 0; flips < 8 && !bytes.empty(); ++flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      if (i % 3 == 0) bytes.resize(bytes.size() / 2);
      (void)send(*method, bytes, absl::Milliseconds(700));
    }
    // Groups that never end, and a length beyond the end.
    for (const std::string& bytes : {std::string(100'000, '\x0b'), std::string("\x0a\xff\xff\xff\xff\x0f", 6)})
      EXPECT_FALSE(send(*method, bytes).ok()) << method->full_name();
    expect_healthy(method->full_name());
  }
}

TEST_F(Hostile, ARequestBeyondTheLimitIsRefusedWithTheLimit) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job_named("large");
  request.mutable_job()->set_tokenizer(std::string(300 << 10, 'x'));
  v1::JobRecord record;
  grpc::Status status = jobs_->CreateJob(context().get(), request, &record);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(absl::StrContains(status.error_message(), "262144")) << status.error_message();
  request.mutable_job()->set_tokenizer(std::string(2 << 20, 'x'));
  status = jobs_->CreateJob(context().get(), request, &record);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(absl::StrContains(status.error_message(), "524288")) << status.error_message();
  expect_healthy("a large request");
}

// Without TLS an update of a window has the fewest bytes: the listener must not take them for somebody who does not
// wait.
TEST_F(Hostile, RequestsAsLargeAsTheyMayBeAreAnsweredManyAtATime) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job_named("large");
  request.mutable_job()->set_tokenizer(std::string(500 << 10, 'x'));
  std::vector<std::thread> callers;
  for (int i = 0; i < 12; ++i) {
    callers.emplace_back([this, &request] {
      for (int k = 0; k < 8; ++k) {
        v1::JobRecord record;
        const grpc::Status status = jobs_->CreateJob(context().get(), request, &record);
        EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << status.error_message();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect_healthy("many large requests");
}

TEST_F(Hostile, WhateverAWorkerReportsCanBeAnswered) {
  // The fixture's own worker has the slot.
  train(daemon_, 1);
  ASSERT_EQ(daemon_.held.size(), 1U);
  v1::RankReport& report = daemon_.held[0];
  const std::string id = report.id().job_id();
  report.set_phase(v1::RankReport::EXITED);
  report.set_exit_code(2);
  report.mutable_finished()->set_outcome(v1::Finished::FAILED);
  report.mutable_finished()->set_permanent(true);
  report.mutable_finished()->set_message("begins " + std::string(300'000, 'm') + " ends");
  report.mutable_stage()->set_detail(std::string(100'000, 's'));
  ASSERT_TRUE(sync(daemon_).ok());
  const auto check = [&] {
    v1::GetJobRequest get;
    get.set_name("jobs/" + id);
    v1::JobRecord record;
    ASSERT_TRUE(jobs_->GetJob(context().get(), get, &record).ok());
    EXPECT_EQ(record.state(), v1::JobRecord::FAILED);
    EXPECT_LE(record.ByteSizeLong(), 20'000U);
    EXPECT_TRUE(absl::StrContains(record.message(), "begins mmm") && absl::StrContains(record.message(), "m ends"))
        << record.message();
    v1::ListJobsResponse listed;
    ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &listed).ok());
    v1::ListAttemptsRequest of_job;
    of_job.set_parent("jobs/" + id);
    v1::ListAttemptsResponse attempts;
    ASSERT_TRUE(jobs_->ListAttempts(context().get(), of_job, &attempts).ok());
    EXPECT_LE(attempts.ByteSizeLong(), 20'000U);
  };
  check();
  stop();
  start();
  check();
}

TEST_F(Hostile, WhoAsksForEverythingHoldsUpNoWorkerAndIsBounded) {
#ifdef __SANITIZE_THREAD__
  // Debian's gRPC is not instrumented: each byte of an answer that its threads free passes for a race that is looked up
  // among those to be ignored, which takes minutes for more.
  constexpr int kJobs = 20;
#else
  constexpr int kJobs = 400;
#endif
  for (int i = 0; i < kJobs; ++i) (void)submit(job_named("one"));
  // On a connection of its own, as in another process.
  grpc::ChannelArguments apart;
  apart.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  workers_ = v1::WorkerService::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), apart));
  Daemon worker{"beside"};
  ASSERT_TRUE(join(worker).ok());
  constexpr int kCalls = 300;  // more than one caller may have open
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<v1::ListJobsResponse> responses(kCalls);
  std::atomic<int> answered = 0;
  std::atomic<int> refused = 0;
  v1::ListJobsRequest request;
  request.set_page_size(1000);
  const absl::Time begin = absl::Now();
  for (int i = 0; i < kCalls; ++i) {
    contexts.push_back(context());
    jobs_->async()->ListJobs(contexts.back().get(), &request, &responses[i], [&](const grpc::Status& status) {
      if (status.error_code() == grpc::RESOURCE_EXHAUSTED) ++refused;
      ++answered;
    });
  }
  ASSERT_TRUE(sync(worker).ok());
  const absl::Duration of_worker = absl::Now() - begin;
  absl::Duration longest;
  while (answered < kCalls) {
    const absl::Time asked = absl::Now();
    const grpc::Status status = sync(worker);
    longest = std::max(longest, absl::Now() - asked);
    if (!status.ok()) break;
  }
  ASSERT_TRUE(eventually([&] { return answered == kCalls; }));
  const absl::Duration of_all = absl::Now() - begin;
  EXPECT_LT(longest, std::max(of_all / 2, absl::Seconds(1))) << "of all: " << of_all;
  EXPECT_LT(refused, kCalls / 2);
  EXPECT_LT(of_worker, std::max(of_all / 2, absl::Milliseconds(300))) << "of all: " << of_all;
}

class Socket {
 public:
  explicit Socket(const std::string& address) : file_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::vector<std::string> parts = absl::StrSplit(address, ':');
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(parts.back(), &port));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(file_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }
  ~Socket() { ::close(file_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  void say(const std::string& bytes) const { (void)::send(file_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }

 private:
  int file_;
};

TEST_F(Hostile, ClientsThatStallDoNotSlowOthers) {
  const auto median_ms = [this] {
    std::vector<double> times;
    for (int i = 0; i < 60; ++i) {
      const absl::Time begin = absl::Now();
      (void)submit(job_named("quick"));
      times.push_back(absl::ToDoubleMilliseconds(absl::Now() - begin));
    }
    std::nth_element(times.begin(), times.begin() + 30, times.end());
    return times[30];
  };
  (void)median_ms();  // the plan is known from here on
  const double alone = median_ms();
  std::vector<std::unique_ptr<Socket>> stalled;
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (int i = 0; i < 200; ++i) {
    stalled.push_back(std::make_unique<Socket>(server_->address()));
    if (i % 4 == 1) stalled.back()->say(preface.substr(0, 10));                                   // half a greeting
    if (i % 4 == 2) stalled.back()->say(preface + std::string("\0\0\0\4\0\0\0\0\0", 9));          // settings, silence
    if (i % 4 == 3) stalled.back()->say(preface + std::string("\0\xff\xff\1\4\0\0\0\1abc", 12));  // headers cut short
  }
  // Streams whose events nobody reads, as many as are allowed.
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>>> unread;
  for (int i = 0; i < 50; ++i) {
    contexts.push_back(context(absl::Seconds(60)));
    unread.push_back(jobs_->WatchEvents(contexts.back().get(), v1::WatchEventsRequest()));
  }
  const double beside = median_ms();
  // A connection costs its share of the poller, not a wait: anything that waited for them would take seconds.
  EXPECT_LT(beside, 5 * alone + 20) << "alone " << alone << " ms, beside stalled clients " << beside << " ms";
  for (const auto& one : contexts) one->TryCancel();
}

}  // namespace
}  // namespace galleon::server
