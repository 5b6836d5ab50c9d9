// Daemons that renew their leases: each has a connection of its own, and asks again as soon as it is answered, as a
// real one does.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/process.h"
#include "common/net/certificates.h"
#include "common/net/tls_folder.h"
#include "figures.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace galleon::bench {
namespace {

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}

// Seconds of user and system time, all threads.
double processor_seconds(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t after_name = text.rfind(')');
  if (after_name == std::string::npos) give_up("the scheduler has ended");
  unsigned long user = 0;    // NOLINT(google-runtime-int): as sscanf has it
  unsigned long system = 0;  // NOLINT(google-runtime-int)
  if (std::sscanf(text.c_str() + after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                  &system) != 2) {
    give_up("cannot read the scheduler's times");
  }
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

class Scheduler {
 public:
  Scheduler(const std::string& executable, const std::string& folder) {
    const std::string ready = folder + "/ready.json";
    ProcessOptions options;
    options.command = {executable,    "--data", folder + "/data",       "--listen",     "127.0.0.1:0", "--metrics",
                       "127.0.0.1:0", "--tls",  folder + "/tls/server", "--ready-file", ready};
    options.stdout_path = options.stderr_path = folder + "/scheduler.log";
    absl::StatusOr<ProcessId> started = start_process(options);
    if (!started.ok()) give_up(std::string(started.status().message()));
    pid_ = started->pid;
    for (int i = 0; i < 600 && address_.empty(); ++i) {
      absl::SleepFor(absl::Milliseconds(50));
      std::ifstream file(ready);
      if (!file) continue;
      const Json said = Json::parse(file, nullptr, false);
      if (said.is_object()) address_ = said.value("listen", "");
    }
    if (address_.empty()) give_up(executable + " did not become ready");
  }
  ~Scheduler() {
    ::kill(pid_, SIGKILL);
    (void)wait_process(pid_, absl::Seconds(10));
  }
  const std::string& address() const { return address_; }
  double processor_seconds() const { return bench::processor_seconds(pid_); }

 private:
  pid_t pid_ = 0;
  std::string address_;
};

struct Daemon {
  std::unique_ptr<v1::WorkerService::Stub> stub;
  v1::Worker worker;
  std::unique_ptr<grpc::ClientContext> context;
  v1::RegisterWorkerResponse registered;
  v1::SyncWorkerRequest request;
  v1::SyncWorkerResponse answer;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RegisterWorkerResponse>> registering;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::SyncWorkerResponse>> syncing;
  absl::Time asked;
  double longest_ms = 0;  // beyond the wait that it asked for

  void fresh_context() {
    context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  }
  void start_register(grpc::CompletionQueue& queue) {
    fresh_context();
    v1::RegisterWorkerRequest say;
    *say.mutable_worker() = worker;
    registering = stub->AsyncRegisterWorker(context.get(), say, &queue);
    registering->Finish(&registered, &status, this);
  }
  void start_sync(grpc::CompletionQueue& queue) {
    fresh_context();
    request.set_worker_id(worker.worker_id());
    request.set_incarnation(worker.incarnation());
    request.set_session(registered.session());
    request.set_sequence(request.sequence() + 1);
    request.set_seen_revision(answer.revision());
    request.set_wait_milliseconds(answer.sync_milliseconds() > 0 ? answer.sync_milliseconds()
                                                                 : registered.sync_milliseconds());
    asked = absl::Now();
    syncing = stub->AsyncSyncWorker(context.get(), request, &queue);
    syncing->Finish(&answer, &status, this);
  }
  void answered() {
    const double waited = absl::ToDoubleMilliseconds(absl::Now() - asked);
    longest_ms = std::max(longest_ms, waited - static_cast<double>(request.wait_milliseconds()));
  }
};

}  // namespace

Json heartbeats(const std::string& scheduler_program, int workers, double seconds) {
  const Folder folder;
  if (!init_tls(folder.path + "/tls", {}, absl::Hours(24)).ok()) give_up("no certificates");
  const Scheduler scheduler(scheduler_program, folder.path);
  const auto credentials = channel_credentials(*load_tls_folder(folder.path + "/tls/worker"));
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Daemon>> daemons;
  int64_t failed = 0;
  int64_t syncs = 0;
  int registering = 0;
  // Lets one call end, and its daemon go on.
  const auto turn = [&] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    Daemon& daemon = *static_cast<Daemon*>(tag);
    if (!daemon.status.ok() && ++failed == 1)
      std::fprintf(stderr, "a call failed: %s\n", daemon.status.error_message().c_str());
    if (daemon.registering != nullptr) {
      daemon.registering.reset();
      --registering;
    } else {
      daemon.answered();
      ++syncs;
    }
    daemon.start_sync(queue);
  };
  // A few handshakes at a time, as daemons' back-off spreads those of a fleet that starts together.
  constexpr int kAtOnce = 32;
  const absl::Time start = absl::Now();
  for (int i = 0; i < workers; ++i) {
    auto daemon = std::make_unique<Daemon>();
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection each
    daemon->stub = v1::WorkerService::NewStub(grpc::CreateCustomChannel(scheduler.address(), credentials, arguments));
    daemon->worker = worker_named(i, 8);
    daemon->worker.set_version(GALLEON_VERSION);
    daemon->start_register(queue);
    daemons.push_back(std::move(daemon));
    ++registering;
    while (registering >= kAtOnce) turn();
  }
  while (registering > 0) turn();
  const double connected = absl::ToDoubleSeconds(absl::Now() - start);
  // All speak at the pace of the whole fleet once each has been answered.
  const absl::Time settled = absl::Now() + absl::Seconds(10);
  while (absl::Now() < settled) turn();
  for (const auto& daemon : daemons) daemon->longest_ms = 0;
  syncs = 0;
  const double before = scheduler.processor_seconds();
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < absl::Seconds(seconds)) turn();
  const double took = absl::ToDoubleSeconds(absl::Now() - begin);
  const double used = scheduler.processor_seconds() - before;
  double late = 0;
  for (const auto& daemon : daemons) late = std::max(late, daemon->longest_ms);
  // Calls that are under way must end before their queue.
  const double lease_ms = static_cast<double>(daemons.front()->registered.lease_milliseconds());
  for (const auto& daemon : daemons) daemon->context->TryCancel();
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) {
  }
  return {{"workers", workers},
          {"failed", failed},
          {"connected_in_seconds", connected},
          {"syncs_per_second", static_cast<double>(syncs) / took},
          {"scheduler_cores", used / took},
          {"latest_answer_ms", late},
          {"lease_ms", lease_ms}};
}

}  // namespace galleon::bench
