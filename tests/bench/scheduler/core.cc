// What the core and the journal do without a network: passes, dispatches, recovery.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/clock.h"
#include "figures.h"
#include "server/api/recovered_state.h"
#include "server/core/scheduler.h"
#include "server/store/shared_store.h"
#include "server/store/sqlite_journal.h"

namespace galleon::bench {
namespace {

void join(server::Scheduler& scheduler, server::Now now, const v1::Worker& worker) {
  (void)scheduler.register_worker(now, worker);
  v1::SyncWorkerRequest sync;
  sync.set_worker_id(worker.worker_id());
  sync.set_incarnation(worker.incarnation());
  sync.set_sequence(1);
  (void)scheduler.sync(now, sync);
}

// Jobs' folders, as if they had been made.
void make_folders(server::Scheduler& scheduler, server::Now now, const std::vector<v1::JournalEvent>& events) {
  for (const v1::JournalEvent& event : events) {
    if (event.has_attempt_reserved()) scheduler.confirm_start(now, event.attempt_reserved().id());
  }
}

server::SchedulerOptions core_options() {
  server::SchedulerOptions options;
  options.version = "1";
  return options;
}

std::unique_ptr<server::Journal> open_journal(const std::string& folder, const std::string& store) {
  if (store.empty()) return *server::SqliteJournal::open(folder);
  static const SystemClock clock;
  server::SharedStoreOptions options;
  options.url = store;
  options.data = folder;
  options.clock = &clock;
  const absl::StatusOr<std::unique_ptr<server::SharedStore>> opened = server::open_shared_store(options);
  if (!opened.ok()) {
    std::fprintf(stderr, "%s\n", std::string(opened.status().message()).c_str());
    std::abort();
  }
  return *(*opened)->take(*(*opened)->look());
}

}  // namespace

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
    make_folders(scheduler, now, scheduler.take_events());
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
    const std::vector<v1::JournalEvent> events = scheduler.take_events();
    if (!(*journal)->append(events).ok()) std::abort();
    make_folders(scheduler, now, events);
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

Json recovery(int jobs, const std::string& store) {
  const Folder folder;
  {
    const std::unique_ptr<server::Journal> journal = open_journal(folder.path, store);
    server::Scheduler scheduler(core_options());
    server::Now now{1'700'000'000'000, 1'000};
    for (int i = 0; i < jobs; ++i) {
      (void)scheduler.submit(
          now, {job_named("j"), plan_of(1, 1 << 30), absl::StrCat("r", i), "/jobs", scheduler.next_number()});
      if (i % 1000 == 999 && !journal->append(scheduler.take_events()).ok()) std::abort();
      if (i != jobs / 2) continue;
      if (!journal->append(scheduler.take_events()).ok()) std::abort();
      server::SnapshotChange change;
      change.head = scheduler.state().head();
      change.jobs.assign(scheduler.state().changed().begin(), scheduler.state().changed().end());
      change.body = [&state = scheduler.state()](uint64_t number) { return state.body(number); };
      if (!journal->compact(change).ok()) std::abort();
      scheduler.mark_saved();
    }
    if (!journal->append(scheduler.take_events()).ok()) std::abort();
  }
  const absl::Time start = absl::Now();
  const std::unique_ptr<server::Journal> journal = open_journal(folder.path, store);
  server::RecoveredState recovered;
  const absl::Status loaded = journal->load(recovered.recovery());
  server::Scheduler scheduler(core_options(), recovered.take());
  scheduler.recovered({1'700'000'000'000, 1'000});
  const double took = absl::ToDoubleSeconds(absl::Now() - start);
  if (!loaded.ok() || scheduler.state().jobs().size() != static_cast<size_t>(jobs)) std::abort();
  return {{"jobs", jobs}, {"seconds", took}};
}

}  // namespace galleon::bench
