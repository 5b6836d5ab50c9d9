// The scheduler's durable state: jobs, attempts, workers and counters. It changes by applying journal events and in no
// other way, so that replaying the journal is the program.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"
#include "server/core/job_table.h"
#include "server/core/usage.h"

namespace galleon::server {

// Who holds a slot.
struct SlotUse {
  std::string job_id;
  uint32_t attempt = 0;
  uint32_t rank = 0;
};

// Queued jobs in the order in which they are tried: higher priority first, then the earlier submitted.
struct QueueKey {
  int32_t priority = 0;
  uint64_t number = 0;
  bool operator<(const QueueKey& other) const {
    return priority != other.priority ? priority > other.priority : number < other.number;
  }
};

class State {
 public:
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // The only mutation. An event that contradicts the state (a forbidden transition, a slot leased twice) is a bug and a
  // failed check.
  void apply(const v1::JournalEvent& event);

  v1::StateSnapshot to_proto() const;
  // Replaces an empty state.
  void restore(const v1::StateSnapshot& snapshot);
  // The same in parts: the head first, whose jobs are not looked at, then each job.
  void restore_head(const v1::StateSnapshot& snapshot);
  void restore_job(v1::JobState job);
  // The same of a job as it is stored. False: it cannot be read.
  bool restore_job(absl::string_view body);

  // Everything but the jobs.
  v1::StateSnapshot head() const;
  // Numbers of the jobs that have changed, or were removed, since the last call of mark_saved() or the restoration.
  const std::set<uint64_t>& changed() const { return changed_; }
  const std::set<uint64_t>& removed() const { return removed_; }
  void mark_saved();

  // Null if there is none. A job that has ended is good until pack() or the next change of it.
  const v1::JobState* job(absl::string_view job_id) const;
  const v1::JobState* job_by_request(absl::string_view request_id) const;
  const v1::JobState* job_by_number(uint64_t number) const;
  const v1::GroupState* group(absl::string_view group_id) const;
  const v1::GroupState* group_by_request(absl::string_view request_id) const;
  const v1::Worker* worker(absl::string_view worker_id) const;
  // What can be told of a job without unpacking it; nullopt if there is none.
  std::optional<JobFacts> facts(absl::string_view job_id) const;
  std::optional<v1::JobRecord::State> job_state(absl::string_view job_id) const;
  // A job that exists, as it is stored; valid until the next call for any.
  absl::string_view body(uint64_t number) const { return jobs_.body(*jobs_.entry(number)); }
  // A job that exists, for other threads.
  std::shared_ptr<const PackedJob> packed(const JobEntry& entry) const { return jobs_.packed(entry); }
  // Jobs that were asked for or have ended since the last call take little memory again. Nobody may hold one of them.
  void pack() { jobs_.pack(); }

  // All jobs, oldest first.
  const std::map<uint64_t, JobEntry>& jobs() const { return jobs_.entries(); }
  const std::map<std::string, v1::Worker>& workers() const { return workers_; }
  const std::map<QueueKey, const v1::JobState*>& queue() const { return queue_; }
  // Of them, those that come after other jobs, in the same order.
  const std::map<QueueKey, const v1::JobState*>& dependent() const { return dependent_; }
  // Numbers of jobs in an active state.
  const std::set<uint64_t>& active() const { return active_; }
  // Numbers of queued jobs for which slots are held.
  const std::set<uint64_t>& holding() const { return holding_; }
  // Slots of a worker that are leased, by slot.
  const std::map<uint32_t, SlotUse>& leased_slots(absl::string_view worker_id) const;
  // Of notifications, by name.
  const std::map<std::string, v1::ReceiverState>& receivers() const { return receivers_; }
  // Folders of deleted jobs that are still to be taken away, by the jobs' ids.
  const std::map<std::string, v1::FolderRemoval>& removals() const { return removals_; }
  // By the number of their first jobs, oldest first.
  const std::map<uint64_t, v1::GroupState>& groups() const { return groups_; }
  // Numbers of those with a rung that is not decided.
  const std::set<uint64_t>& halving() const { return halving_; }
  // Numbers of the jobs of a group that are there.
  const std::set<uint64_t>& members(absl::string_view group_id) const;
  // Numbers of the jobs in a state.
  const absl::btree_set<uint64_t>& in_state(v1::JobRecord::State state) const;
  // Number of jobs in each state, by queue.
  const std::map<std::pair<std::string, int>, int64_t>& counts() const { return counts_; }

  // Number of queued jobs that are held, by queue.
  const std::map<std::string, int64_t>& held_counts() const { return held_counts_; }

  // Who uses what, by queue and by project.
  const Usage& usage() const { return usage_; }

  // Everything that is kept of what happened after a revision, oldest first, at most `most`; of `subject` alone if it
  // is not empty. False: some of it is no longer kept.
  bool events_after(uint64_t revision, absl::string_view subject, size_t most, std::vector<v1::Event>& events) const;

  // Are all events after a revision among the newest, which are at hand?
  bool has_recent(uint64_t revision) const { return revision >= recent_complete_; }
  // The newest time that anything in it bears; 0: nothing has happened yet.
  int64_t newest_time_ms() const { return newest_time_ms_; }
  uint64_t revision() const { return revision_; }
  uint64_t last_job_number() const { return last_job_number_; }
  uint64_t last_epoch() const { return last_epoch_; }

 private:
  v1::JobState& mutable_job(const std::string& job_id);
  v1::AttemptState& mutable_attempt(const v1::AttemptId& id);
  void move(v1::JobState& job, v1::JobRecord::State to);
  void index(const v1::JobState& job);
  void unindex(const v1::JobState& job);
  void name(const v1::JobRecord& record, const JobEntry& entry);
  // An ended job leaves the list, and its group with the last of it.
  void drop(v1::JobState& job);
  void index_group(const v1::GroupState& group);
  void leave_group(const std::string& group_id, uint64_t number);
  // How many slots it takes.
  uint32_t lease(const v1::JobState& job, const v1::AttemptState& attempt);
  // Tells what this change was, for those who watch.
  void note(v1::JobState& job, absl::string_view kind, std::string message);
  void note_worker(const std::string& worker_id, absl::string_view kind, std::string message);
  v1::Event& made_event(absl::string_view kind, std::string message);
  // The last that is told of what leaves the list; nothing keeps it but the newest events of all.
  void note_gone(std::string subject, absl::string_view kind, std::string message = "");

  void dispatch(const v1::JournalEvent& event, int64_t time_ms);
  void on(const v1::JobCreated& event, int64_t time_ms);
  void on(const v1::WorkerRegistered& event, int64_t time_ms);
  void on(const v1::WorkerGone& event, int64_t time_ms);
  void on(const v1::AttemptReserved& event, int64_t time_ms);
  void on(const v1::JobMoved& event, int64_t time_ms);
  void on(const v1::StopOrdered& event, int64_t time_ms);
  void on(const v1::AttemptClosed& event, int64_t time_ms);
  void on(const v1::RankReleased& event, int64_t time_ms);
  void on(const v1::AttemptEnded& event, int64_t time_ms);
  void on(const v1::JobRequeued& event, int64_t time_ms);
  void on(const v1::JobEnded& event, int64_t time_ms);
  void on(const v1::CheckpointRecorded& event, int64_t time_ms);
  void on(const v1::JobReprioritized& event, int64_t time_ms);
  void on(const v1::SlotsHeld& event, int64_t time_ms);
  void on(const v1::WorkerOrdered& event, int64_t time_ms);
  void on(const v1::WorkerForgotten& event, int64_t time_ms);
  void on(const v1::JobForgotten& event, int64_t time_ms);
  void on(const v1::StateRestored& event, int64_t time_ms);
  void on(const v1::ProjectsRecorded& event, int64_t time_ms);
  void on(const v1::JobWaitsLong& event, int64_t time_ms);
  void on(const v1::ReceiverTold& event, int64_t time_ms);
  void on(const v1::JobHeld& event, int64_t time_ms);
  void on(const v1::JobReleased& event, int64_t time_ms);
  void on(const v1::JobResumed& event, int64_t time_ms);
  void on(const v1::JobDeleted& event, int64_t time_ms);
  void on(const v1::FolderRemoved& event, int64_t time_ms);
  void on(const v1::GroupCreated& event, int64_t time_ms);
  void on(const v1::RungReached& event, int64_t time_ms);
  void on(const v1::RungDecided& event, int64_t time_ms);
  void on(const v1::HalfLivesSet& event, int64_t time_ms);

  uint64_t revision_ = 0;
  uint64_t last_job_number_ = 0;
  uint64_t last_epoch_ = 0;
  JobTable jobs_;
  std::map<std::string, v1::Worker> workers_;
  std::map<std::string, v1::WorkerEvents> worker_events_;
  std::map<std::string, v1::ReceiverState> receivers_;
  std::map<std::string, v1::FolderRemoval> removals_;
  std::map<uint64_t, v1::GroupState> groups_;
  Usage usage_;             // what users used lately is in the snapshot, the rest is derived
  uint64_t forgotten_ = 0;  // revision of the newest event that is not kept with anything

  // Derived from the above.
  std::unordered_map<std::string, const JobEntry*> by_id_;
  std::unordered_map<std::string, const JobEntry*> by_request_;
  std::map<std::string, uint64_t, std::less<>> group_numbers_;      // by id
  std::map<std::string, uint64_t, std::less<>> group_requests_;     // by request id
  std::map<std::string, std::set<uint64_t>, std::less<>> members_;  // by group id
  std::set<uint64_t> halving_;
  std::map<QueueKey, const v1::JobState*> queue_;
  std::map<QueueKey, const v1::JobState*> dependent_;
  std::map<int, absl::btree_set<uint64_t>> by_state_;
  std::set<uint64_t> active_;
  std::set<uint64_t> holding_;
  std::set<uint64_t> changed_;
  std::set<uint64_t> removed_;
  std::deque<v1::Event> recent_;  // the newest of all, oldest first
  uint64_t recent_complete_ = 0;  // recent_ has every event after this revision
  int64_t time_ms_ = 0;           // of the event being applied
  int64_t newest_time_ms_ = 0;
  std::string actor_;
  std::map<std::string, std::map<uint32_t, SlotUse>, std::less<>> slots_;
  std::map<std::pair<std::string, int>, int64_t> counts_;
  std::map<std::string, int64_t> held_counts_;
  v1::JobState restoring_;  // memory that restore_job() uses again
};

// Sets queue and priority to what the job file says, where the record has none: it is new, or from before it had them.
void fill_scheduling(v1::JobRecord& record);
// The attempt that a job is at; null before the first. It is over once its outcome is not RUNNING.
const v1::AttemptState* current_attempt(const v1::JobState& job);
// The same, only while it is not over.
const v1::AttemptState* live_attempt(const v1::JobState& job);
// From when its queue timeout counts.
int64_t waits_from_ms(const v1::JobState& job);
// Ranks that lacked something at their places, in the attempts that were lost in a row before the one that is not over.
std::vector<const v1::RankState*> failed_places(const v1::JobState& job);

}  // namespace galleon::server
