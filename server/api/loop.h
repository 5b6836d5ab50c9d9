// The one thread that owns the scheduler. A round takes every request that has arrived, decides, lets time pass,
// commits all events at once, and only then answers.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/base/clock.h"
#include "server/api/clock_watch.h"
#include "server/api/inbox.h"
#include "server/api/job_folders.h"
#include "server/api/metrics.h"
#include "server/core/scheduler.h"
#include "server/store/journal.h"

namespace galleon::server {

// What a request sees of the round that it runs in.
struct Turn {
  Scheduler& scheduler;
  Now now;
  // Run when everything decided in this round is durable, on the same thread.
  std::vector<std::function<void()>>& after_commit;
};

class Loop {
 public:
  struct Options {
    SchedulerOptions scheduler;
    const Clock* clock = nullptr;
    Journal* journal = nullptr;
    Metrics* metrics = nullptr;
    JobFolders* folders = nullptr;
    // Another thread for what takes long, and how a deleted job's logs and folder are taken away on it.
    JobFolders* removals = nullptr;
    std::function<absl::Status(const v1::FolderRemoval&)> remove;
    // A commit failed: must not return to a process that goes on answering.
    std::function<void(const absl::Status&)> on_fatal;
    // Jobs that have left the list for good; folders and logs of those with a removal are taken away as of those that
    // are deleted.
    std::function<void(std::vector<v1::JobForgotten>)> on_forgotten;
    // A snapshot is taken when so many events have come since the last, and earlier in a quiet moment.
    int64_t compact_above = 20'000;
    int64_t compact_idle = 1'000;
    bool compact_first = true;  // a long journal before anybody is answered
  };

  // `state`: what the journal leads to.
  Loop(Options options, std::unique_ptr<State> state);
  ~Loop();

  // Takes up what was under way. Call once, before start().
  void recovered();
  // `on_round` runs on the loop's thread after the commit of each round; add all of them before start().
  void add_round_observer(std::function<void(Scheduler&, Now)> on_round) { observers_.push_back(std::move(on_round)); }
  // How long a job waits until it says so; before start().
  void set_long_wait(absl::Duration time) { scheduler_.set_long_wait(absl::ToInt64Milliseconds(time)); }
  // Of the job that is submitted next.
  uint64_t next_job_number() const { return scheduler_.next_number(); }
  // Before start().
  const State& state() const { return scheduler_.state(); }
  void start();
  // Finishes what has been posted, then ends the thread.
  void stop();

  // RESOURCE_EXHAUSTED when too many requests wait; UNAVAILABLE after stop(). Then `task` has not run and will not.
  absl::Status post(Lane lane, const std::string& caller, Inbox::Task task);

 private:
  void run();
  // `all`: whatever the time that it takes.
  void round(bool all);
  void run_lane(Lane lane, Turn& turn, absl::Duration most);
  // Makes what was decided durable; then has the folders of jobs made that are about to start. False: the journal
  // cannot be written, and the process ends.
  bool commit();
  // Workers hear of the attempt once its job's folder is there.
  void make_job_folder(const v1::JobState& job, const v1::AttemptId& id);
  static void tell_forgotten(const std::vector<v1::JobForgotten>& forgotten);
  // A deleted job's logs and folder; tried again later where they cannot be had.
  void take_away(const v1::FolderRemoval& removal);
  void take_away_again(Now now);
  // What this process owes itself: no limit refuses it.
  void arrive(Inbox::Task task);
  Now now() const;
  void compact();
  void compact_if_due(bool idle);

  const Options options_;
  Scheduler scheduler_;
  std::vector<std::function<void(Scheduler&, Now)>> observers_;
  ClockWatch clock_watch_;
  absl::Duration last_gauges_ = -absl::InfiniteDuration();
  absl::Duration next_compact_ = -absl::InfiniteDuration();
  std::map<std::string, int64_t> removals_again_ms_;  // monotonic: when those that failed are tried again, by job
  std::mutex mutex_;
  std::condition_variable arrived_;
  Inbox inbox_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace galleon::server
