// The promises of the scheduler, checked from outside: from the journal's events before and after they are applied, and
// from what really runs in the simulated machines.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/fleet.h"
#include "server/core/queues.h"
#include "server/core/state.h"

namespace galleon::server {

struct SchedulerOptions;

class Promises {
 public:
  explicit Promises(const SchedulerOptions* options) : options_(options) {}

  // What an event may do is seen in the state before it; `mono_ms` is a clock that does not jump.
  void before(const v1::JournalEvent& event, const State& state, int64_t mono_ms);
  // What it has done, in the state after it.
  void after(const v1::JournalEvent& event, const State& state);
  // How many slots the scheduler can count on, and those of workers that are not cordoned or drained.
  void see_fleet(uint32_t slots, std::map<std::string, uint32_t> open) {
    slots_ = slots;
    open_by_worker_ = std::move(open);
    open_ = 0;
    for (const auto& [worker, count] : open_by_worker_) open_ += count;
  }
  // Of groups as time passes: what is due is done soon.
  void see_groups(const State& state, Now now, bool quiet);
  // What was seen of them so far counts from anew: the scheduler is gone.
  void forget_groups() { due_since_ms_.clear(); }
  // When all have come to their end.
  void check_groups(const State& state);
  // Nothing moves jobs between queues, and no clock jumps: what users used lately can be told from starts and ends.
  void expect_exact_use(bool exact) { exact_use_ = exact; }
  void expect_clock_jumps() { clock_jumps_ = true; }
  void require(bool holds, const std::string& promise);
  // The first promise that was broken; empty: none.
  const std::string& broken() const { return broken_; }

 private:
  void check_reservation(const v1::AttemptReserved& reserved, const State& state);
  // promises_of_groups.cc
  void check_max_running(const v1::JobRecord& record, const State& state);
  void check_taker(const v1::JobRecord& taker, const State& state);
  void check_rung(const v1::RungDecided& decided, const State& state);
  void check_halved(const v1::JournalEvent& event, const State& state);
  void check_overtaking(const v1::JobState& starting, const State& state, int64_t wall_ms);
  void check_queued(const v1::JobCreated& created, const State& state);
  void check_user(const v1::JobState& starting, const State& state, int64_t wall_ms, uint32_t ranks);
  void check_turn(const v1::JobState& starting, const State& state, int64_t wall_ms);
  std::set<const v1::JobState*> beyond_users(const State& state, const QueueConfig& queue) const;
  bool could_start(const v1::JobState& job, int64_t wall_ms, const QueueConfig& queue) const;
  const QueueConfig* queue_of_job(const v1::JobRecord& record) const;
  uint32_t held_by(const std::string& queue, const std::string& user, const State& state) const;
  void check_places(const v1::AttemptReserved& reserved, const State& state);
  void check_forgotten(const v1::JobForgotten& gone, const State& state, int64_t mono_ms);
  void check_orders(const v1::JournalEvent& event, const State& state);
  void check_long_wait(const v1::JournalEvent& event);
  void check_project(const v1::JournalEvent& event, const State& state);
  void check_stop(const v1::StopOrdered& ordered, const State& state, int64_t mono_ms);
  void check_release(const v1::RankReleased& released, const State& state, int64_t wall_ms);
  void check_checkpoint(const v1::CheckpointRecorded& recorded);
  void check_job(const v1::JobRecord& record);

  const SchedulerOptions* options_;
  std::map<std::pair<std::string, uint32_t>, std::string> leases_;
  std::map<std::string, v1::JobRecord::State> terminal_;
  std::map<std::string, std::pair<uint32_t, uint32_t>> counts_;  // attempts, failures
  std::map<std::string, uint32_t> failures_before_;              // somebody had it go on
  std::map<std::string, uint32_t> attempts_before_;
  std::map<std::string, std::string> projects_;
  std::set<std::string> said_;
  std::map<std::string, uint64_t> live_epoch_;
  std::map<std::string, int64_t> due_since_ms_;                // of what groups are to do soon
  std::map<std::string, std::set<std::string>> out_;           // by group: those that end at a rung
  std::map<std::string, std::pair<size_t, size_t>> creating_;  // by group: jobs that came, and should
  std::map<std::string, int64_t> since_ms_;                    // start of the live attempt
  std::map<std::string, int64_t> ended_ms_;
  std::map<std::string, std::pair<uint64_t, uint64_t>> checkpoint_;
  // Slots that users held, for how long; still held where the end is before the start.
  struct Held {
    std::string holder;
    std::string queue;
    std::string user;
    int64_t from_ms;
    int64_t to_ms;
  };
  std::vector<Held> held_;
  bool exact_use_ = false;
  bool clock_jumps_ = false;
  uint64_t last_epoch_ = 0;
  uint32_t slots_ = 0;
  uint32_t open_ = 0;
  std::map<std::string, uint32_t> open_by_worker_;
  std::string broken_;
};

}  // namespace galleon::server
