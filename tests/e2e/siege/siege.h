// A service with TLS that somebody attacks, and what that costs: the others' seconds, the scheduler's memory and
// descriptors, the lease of a worker that trains.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "common/net/tls_folder.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "tests/e2e/service.h"

namespace galleon {

// What an attack may cost.
inline constexpr absl::Duration kLongestCallOfOthers = absl::Seconds(1);
inline constexpr int64_t kMostMemory = 256 << 20;  // above rest
inline constexpr int kMostDescriptors = 8;         // that come back later

class Siege : public testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // connections that the server ends
    const std::string tls = service_.folder() + "/tls";
    ASSERT_EQ(service_.galleon({"admin", "init-tls", tls, "--host", "127.0.0.1"}).exit.code, 0);
    for (const char* who : {"ann", "eve", "mallory"})
      ASSERT_EQ(service_.galleon({"admin", "init-tls", tls, "--client", who}).exit.code, 0) << who;
    const std::string access = service_.folder() + "/access.yaml";
    ASSERT_TRUE(write_file_atomically(access,
                                      "principals:\n"
                                      "  worker: {certificate: worker, roles: {'*': worker}}\n"
                                      "  ann: {certificate: ann, roles: {'*': submitter}}\n"
                                      "  eve: {certificate: eve, roles: {'*': submitter}}\n")
                    .ok());
    service_.lease = "20s";
    ::setenv("GALLEON_TLS", identity("ann").c_str(), 1);
    service_.start_scheduler({"--tls", identity("server"), "--access", access});
    service_.start_worker("w1", 1, {"--tls", identity("worker")});
    job_ = service_.submit(service_.job_file("voyage", 1'000'000, 1));
    ASSERT_TRUE(service_.await_step(job_, 5));
    jobs_ = client("ann");
    v1::GetJobRequest request;
    request.set_name("jobs/" + job_);
    const auto context = call(kPatience);
    ASSERT_TRUE(jobs_->GetJob(context.get(), request, &record_).ok());
  }

  void TearDown() override {
    // Whatever happened, its first attempt trains on.
    const Json record = service_.get(job_);
    EXPECT_EQ(record.value("state", ""), "RUNNING");
    EXPECT_EQ(record.value("attempts", 0), 1) << "a lease was lost";
    service_.galleon({"cancel", job_});
    EXPECT_TRUE(eventually([&] { return service_.trainers().empty(); }));
    ::unsetenv("GALLEON_TLS");
  }

  std::string identity(const std::string& who) const { return service_.folder() + "/tls/" + who; }
  // A tenth of the attacks that were seen to do harm; all of each where GALLEON_SIEGE is "full".
  static int of_full(int size) {
    const char* asked = std::getenv("GALLEON_SIEGE");
    return asked != nullptr && std::string(asked) == "full" ? size : size / 10;
  }

  // On a connection of its own.
  std::unique_ptr<v1::JobService::Stub> client(const std::string& who) const {
    const absl::StatusOr<TlsFolder> tls = load_tls_folder(identity(who));
    EXPECT_TRUE(tls.ok()) << tls.status();
    grpc::ChannelArguments apart;
    apart.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    apart.SetMaxReceiveMessageSize(-1);
    return v1::JobService::NewStub(grpc::CreateCustomChannel(service_.server(), channel_credentials(*tls), apart));
  }
  static std::unique_ptr<grpc::ClientContext> call(absl::Duration deadline) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + deadline));
    return context;
  }
  // A job that the planner knows, and that no worker can take.
  v1::CreateJobRequest request(const std::string& name) const {
    v1::CreateJobRequest request;
    *request.mutable_job() = record_.job();
    request.mutable_job()->set_name(name);
    (*request.mutable_job()->mutable_scheduling()->mutable_labels())["nowhere"] = "yes";
    request.set_allow_pending(true);
    return request;
  }

  // Runs `attack` while somebody else makes a call after the other, and compares what it cost with what it may cost.
  template <typename Attack>
  void endure(const std::string& name, Attack attack) {
    const int descriptors = open_descriptors();
    const int64_t rest = memory("VmRSS");
    forget_peak();
    const double processor = processor_seconds();
    const std::vector<absl::Duration> at_rest = waits_of_others([] {});
    const absl::Time begin = absl::Now();
    const std::vector<absl::Duration> waits = waits_of_others(attack);
    const absl::Duration took = absl::Now() - begin;
    const int64_t more = memory("VmHWM") - rest;
    std::printf("%s: %.1f s, %.1f s of the scheduler's processors, %.0f MiB more, others' %zu calls %.0f ms at most\n",
                name.c_str(), absl::ToDoubleSeconds(took), processor_seconds() - processor,
                static_cast<double>(more) / (1 << 20), waits.size(), absl::ToDoubleMilliseconds(waits.back()));
    // A machine that has other things to do is slow without it.
    EXPECT_LE(waits.back(), std::max(kLongestCallOfOthers, 3 * at_rest.back())) << name;
    EXPECT_LE(more, kMostMemory) << name;
    int left = 0;
    EXPECT_TRUE(eventually([&] { return (left = open_descriptors()) <= descriptors + kMostDescriptors; }))
        << name << ": " << left << " descriptors, before " << descriptors;
  }

  void expect_new_ones_are_let_in() {
    for (int i = 0; i < 10; ++i) {
      const absl::Time begin = absl::Now();
      EXPECT_EQ(service_.galleon({"get", job_}).exit.code, 0);
      EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
      absl::SleepFor(absl::Milliseconds(100));
    }
  }

  Service service_;
  std::string job_;
  v1::JobRecord record_;
  std::unique_ptr<v1::JobService::Stub> jobs_;  // ann's

 private:
  // Of calls that somebody else makes during the attack and for a second after it, the shortest first.
  template <typename Attack>
  std::vector<absl::Duration> waits_of_others(Attack attack) {
    std::atomic<bool> over{false};
    std::vector<absl::Duration> waits;
    const std::unique_ptr<v1::JobService::Stub> bystander = client("ann");
    std::thread others([&] {
      while (!over) {
        v1::GetJobRequest get;
        get.set_name("jobs/" + job_);
        v1::JobRecord record;
        const absl::Time begin = absl::Now();
        const auto context = call(absl::Seconds(60));
        const grpc::Status status = bystander->GetJob(context.get(), get, &record);
        EXPECT_TRUE(status.ok()) << status.error_message();
        waits.push_back(absl::Now() - begin);
        absl::SleepFor(absl::Milliseconds(20));
      }
    });
    attack();
    absl::SleepFor(absl::Seconds(1));
    over = true;
    others.join();
    std::sort(waits.begin(), waits.end());
    return waits;
  }

  std::string of_process(const std::string& file) const {
    return absl::StrCat("/proc/", service_.process("scheduler"), "/", file);
  }
  int open_descriptors() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(of_process("fd"))) ++count;
    return count;
  }
  // Bytes; VmRSS or VmHWM.
  int64_t memory(const std::string& what) const {
    const std::string status = read_file(of_process("status")).value_or("");
    for (const absl::string_view line : absl::StrSplit(status, '\n')) {
      if (absl::StartsWith(line, what + ":")) return std::stoll(std::string(line.substr(what.size() + 1))) * 1024;
    }
    ADD_FAILURE() << "no " << what;
    return 0;
  }
  // VmHWM begins anew.
  void forget_peak() const {
    const FileDescriptor file(::open(of_process("clear_refs").c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(::write(file.get(), "5", 1), 1);
  }
  double processor_seconds() const {
    const std::string stat = read_file(of_process("stat")).value_or("");
    const std::vector<std::string> fields = absl::StrSplit(stat.substr(stat.rfind(')') + 2), ' ');
    return static_cast<double>(std::stoll(fields[11]) + std::stoll(fields[12])) /
           static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
};

}  // namespace galleon
