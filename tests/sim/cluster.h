// A whole cluster in one thread, made from a script: the scheduler's core, a journal in memory, workers, trainers,
// users, and a network that loses, doubles and reorders. Every event that becomes durable is checked against the
// promises.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "server/core/scheduler.h"
#include "tests/sim/promises.h"
#include "tests/sim/script.h"

namespace galleon::server {

class Cluster {
 public:
  static constexpr int64_t kChaosMs = 60'000;
  static constexpr int64_t kCrowdMs = 240'000;
  static constexpr int64_t kLongestWaitMs = 150'000;      // of whoever fits, in a crowd of short jobs
  static constexpr int64_t kLongestGuaranteeMs = 12'000;  // of a queue's first job within its guarantee

  // A scheduler that breaks its word on purpose, to see that it is noticed.
  enum class Fault {
    kNone,
    kAnswersBeforeCommit,
    kTermIsNotChecked,      // by the store, when something is written
    kLeaseByOwnClock,       // whoever stands by judges the lease by a clock of its own
    kLeaseWithoutMargin,    // the writer takes its own clock to be as fast as the store's
    kAnswersWithoutAsking,  // the writer does not ask whether its term is over
  };
  explicit Cluster(Script script, Fault fault = Fault::kNone);
  // A time of faults, then a quiet one in which every job must come to its end. Returns the first broken promise, or
  // "".
  std::string run();
  // What became durable, in words, one change a line; the newest `most`.
  std::string history(size_t most) const;
  uint64_t commits() const { return commits_; }
  // What happened, to see that the simulation exercises what it is for.
  struct Tally {
    int64_t crashes = 0;
    int64_t attempts = 0;
    int64_t lost = 0;
    int64_t succeeded = 0;
    int64_t failed = 0;
    int64_t cancelled = 0;
    int64_t checkpoints = 0;
    int64_t refused_checkpoints = 0;
    int64_t workers_gone = 0;
    int64_t preempted = 0;
    int64_t drained = 0;
    int64_t dependants_failed = 0;
    int64_t refused_starts = 0;
    int64_t place_faults = 0;
    int64_t cordoned_itself = 0;
    int64_t held = 0;
    int64_t requeued = 0;
    int64_t resumed = 0;
    int64_t deleted = 0;
    int64_t forgotten = 0;
    int64_t timed_out = 0;
    int64_t groups = 0;
    int64_t rungs = 0;   // decided
    int64_t halved = 0;  // jobs that ended at one
    int64_t yielded = 0;
    int64_t over_quota = 0;
    int64_t takeovers = 0;
    int64_t fenced = 0;           // writers whose term was over
    int64_t turns = 0;            // starts where users take turns
    int64_t longest_wait_ms = 0;  // in a crowd
    int64_t longest_guarantee_ms = 0;
  };
  Tally tally;

 private:
  struct Trainer {
    v1::RankReport report;
    uint32_t slot = 0;
    uint64_t steps = 0;       // until success
    uint64_t publishing = 0;  // step that waits for an answer; 0: none
    std::vector<uint64_t> rungs = {};
    int64_t stop_at_ms = -1;
    int64_t dead_line_ms = -1;  // ends after this whatever it does
    bool alive() const { return report.phase() != v1::RankReport::EXITED; }
  };
  struct Machine {
    v1::Worker worker;
    bool registered = false;
    bool up = true;  // the daemon runs and is not stopped
    int64_t asleep_until_ms = 0;
    int64_t frozen_until_ms = 0;
    int64_t zombies_until_ms = 0;  // after a freeze trainers notice only then that their lease is over
    int64_t broken_until_ms = 0;   // what it starts ends for a fault of the place
    v1::PlaceFault fault = v1::PLACE_FAULT_UNSPECIFIED;
    double clock_rate = 1;  // a lease of so many milliseconds by its clock takes that many times as long
    int64_t lease_end_ms = -1;
    uint64_t sequence = 0;
    uint64_t session = 0;
    int64_t sent_ms = -1;  // of the call in flight; -1: none
    bool leaving = false;
    std::vector<Trainer> trainers;
  };

  using Random = std::mt19937_64;
  static int64_t between(Random& random, int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  }
  static bool chance(Random& random, double probability) {
    return std::uniform_real_distribution<double>(0, 1)(random) < probability;
  }
  int64_t between(int64_t low, int64_t high) { return between(random_, low, high); }
  bool chance(double probability) { return chance(random_, probability); }
  double faults(double probability) const { return quiet_ ? 0 : probability; }

  void at(int64_t delay_ms, std::function<void()> action);
  // Delivers zero, one or two copies after random times, if the scheduler that it is for or from still lives then.
  void network(std::function<void()> delivery);
  Now now() const { return {1'700'000'000'000 + now_ms_ + clock_offset_ms_, now_ms_}; }

  // Two schedulers on one store (cluster_terms.cc). One of them is `scheduler_`, the writer of the newest term, but
  // while an action of the other's runs.
  struct Term {
    uint64_t number = 0;
    double clock_rate = 1;       // of the scheduler's own clock
    int64_t renewed_ms = 0;      // when the newest renewal was sent
    int64_t hangs_until_ms = 0;  // its process is stopped
    size_t written = 0;          // as it knows the journal
  };
  struct Other {
    std::unique_ptr<Scheduler> scheduler;
    uint64_t life = 0;
    Term term;
  };
  void swap_schedulers();
  // As the scheduler of that life, when it is awake; not at all once it has ended.
  void as(uint64_t life, const std::function<void()>& action);
  bool stands();
  void terms_tick();
  void begin_term();
  void take_over();
  void take_over_in_commit(bool after);
  bool store_takes(size_t events);
  void ask_for_what_was_acknowledged();

  // Scheduler.
  bool commit();
  void tell_fleet();
  void make_folder(const v1::AttemptId& id);
  void take_away_folder(const std::string& job_id);
  void count(const v1::JournalEvent& event);
  void release_all();
  void crash();
  void recover();
  void scheduler_tick();
  void undrain();

  // Machines.
  void machine_tick(Machine& machine);
  void trainer_tick(Machine& machine, Trainer& trainer);
  void send_sync(Machine& machine);
  void send_register(Machine& machine);
  void take_answer(Machine& machine, const v1::SyncWorkerResponse& response, int64_t sent_ms);
  void publish(Machine& machine, Trainer& trainer, uint64_t step);
  void end_trainer(Trainer& trainer, v1::Finished::Outcome outcome, int signal, bool by_daemon);
  Trainer* find(Machine& machine, const v1::AttemptId& id, uint32_t rank);
  void take(const Step& step);
  void disturb(const Step& step, Random& random);

  // Users.
  void submit(Random& random);
  void sweep(Random& random);
  // Of a job at a rung: the same in every attempt, and now and then none.
  static double loss_of(const std::string& job_id, uint64_t rung);
  void crowd();
  void submit_to(const Stream& stream);
  void check_waits();
  void check_guarantees();
  void cancel(Random& random);
  void reprioritize(Random& random);
  void hold(Random& random);
  void order_job(const Step& step, Random& random);
  void order(Random& random);
  void reconfigure(Random& random);
  void reconfigure(const std::vector<QueueConfig>& queues);
  const std::string* any_job(Random& random) const;

  // What the released rank is said to have done, it did, in that very attempt.
  void check_exit(const v1::RankReleased& released);
  void check_physical();
  bool all_ended() const;

  struct Action {
    int64_t time_ms;
    uint64_t order;
    std::function<void()> run;
    bool operator<(const Action& other) const {
      return time_ms != other.time_ms ? time_ms > other.time_ms : order > other.order;
    }
  };

  const Script script_;
  const Fault fault_;
  Random random_;
  Random folders_;  // which of them cannot be made, and how long the others take
  SchedulerOptions options_;
  std::priority_queue<Action> actions_;
  uint64_t order_ = 0;
  int64_t now_ms_ = 1'000;
  int64_t clock_offset_ms_ = 0;
  uint64_t commits_ = 0;
  bool quiet_ = false;

  std::unique_ptr<Scheduler> scheduler_;  // null: crashed
  uint64_t life_ = 0;                     // of the scheduler; messages do not cross it
  uint64_t lives_ = 0;
  Term term_;
  Other other_;
  bool other_is_newer_ = false;  // it took over in the action that runs
  uint64_t store_term_ = 0;
  int64_t lease_until_ms_ = 0;  // by the store's clock
  std::vector<v1::JournalEvent> journal_;
  v1::StateSnapshot snapshot_;
  size_t snapshot_at_ = 0;
  State shadow_;  // the journal alone
  Promises promises_;

  std::vector<std::unique_ptr<Machine>> machines_;
  std::map<std::pair<uint64_t, uint32_t>, v1::Finished::Outcome> exits_;  // of processes, by epoch and rank
  std::map<std::pair<uint64_t, uint32_t>, v1::PlaceFault>
      place_faults_;                               // of them, those that ended for a fault of the place
  std::set<uint64_t> with_folder_;                 // epochs of attempts whose job's folder has been made
  std::set<uint64_t> refused_starts_;              // epochs of attempts whose job's folder could not be made
  std::map<std::string, int64_t> waits_since_;     // queued jobs of a crowd
  std::map<std::string, int64_t> entitled_since_;  // of them, the first of their queues, within its guarantee
  std::set<std::string> acknowledged_jobs_;
  std::set<std::string> acknowledged_cancels_;
  std::map<std::string, std::pair<uint64_t, uint64_t>> acknowledged_checkpoints_;
};

}  // namespace galleon::server
