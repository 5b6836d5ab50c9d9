// What the scheduler does in a second, in a process with its load on the same cores: durable submits over mutual TLS,
// dispatches with simulated workers, one decision pass over a long queue, recovery.
//   bench_scheduler [--json FILE] [--seconds N] [--jobs N]
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/log.h"
#include "common/net/certificates.h"
#include "common/net/tls_folder.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "server/api/server.h"
#include "server/core/scheduler.h"
#include "server/store/sqlite_journal.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

struct Folder {
  std::string path = (std::filesystem::current_path() / absl::StrCat("bench-scheduler-", random_hex(6))).string();
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

v1::Job job_named(const std::string& name, uint32_t ranks = 1) {
  v1::Job job;
  job.set_name(name);
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_shape()->set_architecture("llama");
  return job;
}

v1::MemoryPlan plan_of(uint32_t ranks, uint64_t bytes) {
  v1::MemoryPlan plan;
  for (uint32_t i = 0; i < ranks; ++i) plan.add_ranks()->set_peak_bytes(bytes);
  return plan;
}

// `in_flight` calls at all times over one channel with a client's certificate, each answered when it is durable.
Json submits(double seconds, int in_flight) {
  const Folder folder;
  server::ServerOptions options;
  options.data = folder.path + "/data";
  options.listen = "127.0.0.1:0";
  options.metrics = "127.0.0.1:0";
  options.tls = folder.path + "/tls/server";
  options.requests_per_second = 1e6;
  options.planner = folder.path + "/planner";
  options.scheduler.version = "1";
  if (!init_tls(folder.path + "/tls", {}, absl::Hours(24)).ok()) std::abort();
  (void)write_file_atomically(folder.path + "/plan", plan_of(1, 100 << 20).SerializeAsString());
  (void)write_file_atomically(options.planner, "#!/bin/sh\ncat " + folder.path + "/plan\n");
  ::chmod(options.planner.c_str(), 0755);
  absl::StatusOr<std::unique_ptr<server::Server>> server = server::Server::start(options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", std::string(server.status().message()).c_str());
    std::abort();
  }
  const auto channel =
      grpc::CreateChannel((*server)->address(), channel_credentials(*load_tls_folder(folder.path + "/tls/admin")));
  const auto stub = v1::JobService::NewStub(channel);
  grpc::CompletionQueue queue;
  struct Call {
    grpc::ClientContext context;
    v1::CreateJobRequest request;
    v1::JobRecord response;
    grpc::Status status;
    absl::Time start = absl::Now();
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::JobRecord>> reader;
  };
  int64_t number = 0;
  const auto start_call = [&] {
    auto* call = new Call;
    *call->request.mutable_job() = job_named("bench");
    call->request.set_request_id(absl::StrCat("r", ++number));
    call->reader = stub->AsyncCreateJob(&call->context, call->request, &queue);
    call->reader->Finish(&call->response, &call->status, call);
  };
  std::vector<double> latencies;
  int64_t failed = 0;
  const auto finish_call = [&](bool counts) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    failed += !call->status.ok();
    if (counts) latencies.push_back(absl::ToDoubleMilliseconds(absl::Now() - call->start));
  };
  for (int i = 0; i < in_flight; ++i) start_call();
  for (int i = 0; i < 2'000; ++i) {
    finish_call(false);
    start_call();
  }
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < absl::Seconds(seconds)) {
    finish_call(true);
    start_call();
  }
  const double took = absl::ToDoubleSeconds(absl::Now() - begin);
  for (int i = 0; i < in_flight; ++i) finish_call(false);
  std::sort(latencies.begin(), latencies.end());
  return {{"in_flight", in_flight},
          {"submits", latencies.size()},
          {"failed", failed},
          {"per_second", static_cast<double>(latencies.size()) / took},
          {"median_ms", latencies[latencies.size() / 2]},
          {"p99_ms", latencies[latencies.size() * 99 / 100]}};
}

v1::Worker worker_named(int number, uint32_t slots) {
  v1::Worker worker;
  worker.set_worker_id(absl::StrCat("w", number));
  worker.set_version("1");
  worker.set_incarnation(absl::StrCat("i", number));
  worker.set_slots(slots);
  (*worker.mutable_labels())["rack"] = absl::StrCat("r", number / 20);
  for (uint32_t i = 0; i < slots; ++i) {
    worker.add_devices()->set_free_memory_bytes((16ULL + 8 * (number % 4)) << 30);
    worker.mutable_devices(static_cast<int>(i))->set_healthy(true);
  }
  return worker;
}

void join(server::Scheduler& scheduler, server::Now now, const v1::Worker& worker) {
  (void)scheduler.register_worker(now, worker);
  v1::SyncWorkerRequest sync;
  sync.set_worker_id(worker.worker_id());
  sync.set_incarnation(worker.incarnation());
  sync.set_sequence(1);
  (void)scheduler.sync(now, sync);
}

server::SchedulerOptions core_options() {
  server::SchedulerOptions options;
  options.version = "1";
  return options;
}

// The time of one pass while all slots are taken and `jobs` of many sizes wait.
Json decision_pass(int jobs, int workers) {
  server::Scheduler scheduler(core_options());
  server::Now now{1'700'000'000'000, 1'000};
  scheduler.recovered(now);
  for (int i = 0; i < workers; ++i) join(scheduler, now, worker_named(i, 8));
  const auto submit = [&](uint32_t ranks, uint64_t gib) {
    (void)scheduler.submit(now,
                           {job_named("j", ranks), plan_of(ranks, gib << 30), "", "/jobs", scheduler.next_number()});
  };
  for (int i = 0; i < workers; ++i) submit(8, 8);
  for (int round = 0; round < 100 && !scheduler.state().queue().empty(); ++round) {
    now.mono_ms += 1'000;
    now.wall_ms += 1'000;
    scheduler.tick(now);
    (void)scheduler.take_events();
    for (int i = 0; i < workers; ++i) join(scheduler, now, worker_named(i, 8));
  }
  for (int i = 0; i < jobs; ++i) submit(1 + static_cast<uint32_t>(i % 16), 1 + static_cast<uint64_t>(i % 37));
  std::vector<double> times;
  for (int round = 0; round < 20; ++round) {
    now.mono_ms += 1'000;
    now.wall_ms += 1'000;
    submit(1, 4);
    (void)scheduler.take_events();
    const absl::Time start = absl::Now();
    scheduler.tick(now);
    times.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  }
  std::sort(times.begin(), times.end());
  return {{"queued", jobs}, {"workers", workers}, {"median_ms", times[times.size() / 2]}, {"worst_ms", times.back()}};
}

// One-slot jobs that start and end at once: reserved, taken up, finished and released through the core and the journal.
Json dispatches(int workers, double seconds) {
  const Folder folder;
  absl::StatusOr<std::unique_ptr<server::SqliteJournal>> journal = server::SqliteJournal::open(folder.path);
  server::Scheduler scheduler(core_options());
  server::Now now{1'700'000'000'000, 1'000};
  scheduler.recovered(now);
  std::vector<v1::SyncWorkerRequest> requests;
  for (int i = 0; i < workers; ++i) {
    const v1::Worker worker = worker_named(i, 8);
    join(scheduler, now, worker);
    v1::SyncWorkerRequest& request = requests.emplace_back();
    request.set_worker_id(worker.worker_id());
    request.set_incarnation(worker.incarnation());
    request.set_sequence(1);
  }
  int64_t done = 0;
  const absl::Time begin = absl::Now();
  while (absl::Now() - begin < absl::Seconds(seconds)) {
    now.mono_ms += 10;
    now.wall_ms += 10;
    while (scheduler.state().queue().size() < 500)
      (void)scheduler.submit(now, {job_named("j"), plan_of(1, 1 << 30), "", "/jobs", scheduler.next_number()});
    scheduler.tick(now);
    if (!(*journal)->append(scheduler.take_events()).ok()) std::abort();
    for (v1::SyncWorkerRequest& request : requests) {
      const v1::SyncWorkerResponse response = scheduler.assignments(now, request.worker_id(), request.sequence());
      request.clear_ranks();
      for (const v1::Assignment& assignment : response.assignments()) {
        v1::RankReport& report = *request.add_ranks();
        *report.mutable_id() = assignment.id();
        report.set_rank(assignment.rank());
        report.set_phase(v1::RankReport::EXITED);
        report.mutable_finished()->set_outcome(v1::Finished::SUCCEEDED);
        ++done;
      }
      request.set_sequence(request.sequence() + 1);
      (void)scheduler.sync(now, request);
    }
    if (!(*journal)->append(scheduler.take_events()).ok()) std::abort();
  }
  return {{"workers", workers},
          {"jobs", done},
          {"per_second", static_cast<double>(done) / absl::ToDoubleSeconds(absl::Now() - begin)}};
}

// From an open file to a scheduler that can decide, with half of the jobs in the snapshot and half in events.
Json recovery(int jobs) {
  const Folder folder;
  {
    absl::StatusOr<std::unique_ptr<server::SqliteJournal>> journal = server::SqliteJournal::open(folder.path);
    server::Scheduler scheduler(core_options());
    server::Now now{1'700'000'000'000, 1'000};
    for (int i = 0; i < jobs; ++i) {
      (void)scheduler.submit(
          now, {job_named("j"), plan_of(1, 1 << 30), absl::StrCat("r", i), "/jobs", scheduler.next_number()});
      if (i % 1000 == 999 && !(*journal)->append(scheduler.take_events()).ok()) std::abort();
      if (i != jobs / 2) continue;
      if (!(*journal)->append(scheduler.take_events()).ok()) std::abort();
      server::SnapshotChange change;
      change.head = scheduler.state().head();
      for (const uint64_t number : scheduler.state().changed())
        change.jobs.push_back(scheduler.state().job_by_number(number));
      if (!(*journal)->compact(change).ok()) std::abort();
      scheduler.mark_saved();
    }
    if (!(*journal)->append(scheduler.take_events()).ok()) std::abort();
  }
  const absl::Time start = absl::Now();
  absl::StatusOr<std::unique_ptr<server::SqliteJournal>> journal = server::SqliteJournal::open(folder.path);
  server::Scheduler scheduler(core_options());
  const absl::Status loaded = (*journal)->load({
      [&](const v1::StateSnapshot& head) { scheduler.restore_head(head); },
      [&](v1::JobState job) { scheduler.restore_job(std::move(job)); },
      [&](const v1::JournalEvent& event) { scheduler.replay(event); },
  });
  scheduler.recovered({1'700'000'000'000, 1'000});
  const double took = absl::ToDoubleSeconds(absl::Now() - start);
  if (!loaded.ok() || scheduler.state().jobs().size() != static_cast<size_t>(jobs)) std::abort();
  return {{"jobs", jobs}, {"seconds", took}};
}

}  // namespace
}  // namespace galleon

int main(int argc, char** argv) {
  CLI::App app{"Figures of the scheduler."};
  std::string json;
  double seconds = 5;
  std::string only;
  int jobs = 100'000;
  app.add_option("--json", json, "write the figures to this file");
  app.add_option("--seconds", seconds, "of each load")->capture_default_str();
  app.add_option("--jobs", jobs, "for the recovery")->capture_default_str();
  app.add_option("--only", only, "passes, recovery, dispatches or submits");
  CLI11_PARSE(app, argc, argv);
  galleon::Json figures;
  figures["cores"] = std::thread::hardware_concurrency();
  const auto wanted = [&only](const char* name) { return only.empty() || only == name; };
  if (wanted("passes")) {
    for (const int queued : {1'000, 10'000, 50'000})
      figures["decision_pass"].push_back(galleon::decision_pass(queued, 1'000));
    std::printf("decision pass: %s\n", figures["decision_pass"].dump().c_str());
  }
  if (wanted("recovery")) {
    for (const int count : {jobs / 10, jobs}) figures["recovery"].push_back(galleon::recovery(count));
    std::printf("recovery: %s\n", figures["recovery"].dump().c_str());
  }
  if (wanted("dispatches")) {
    figures["dispatches"] = galleon::dispatches(200, seconds);
    std::printf("dispatches: %s\n", figures["dispatches"].dump().c_str());
  }
  std::fflush(stdout);
  if (wanted("submits")) {
    figures["submits_mtls"] = galleon::submits(seconds, 32);
    std::printf("submits over mutual TLS: %s\n", figures["submits_mtls"].dump().c_str());
  }
  if (!json.empty()) std::ofstream(json) << figures.dump(2) << "\n";
  return 0;
}
