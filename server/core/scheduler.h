// The scheduler's core: the durable state, what is known of the fleet, and every decision. No clock, no I/O, no
// threads: the caller brings the time, and takes away the events that each call left behind. They are already applied
// here; nothing that follows from them may be told to anyone before they are durable.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"
#include "galleon/v1/queues.pb.h"
#include "galleon/v1/workers.pb.h"
#include "server/core/fleet.h"
#include "server/core/pass.h"
#include "server/core/pending.h"
#include "server/core/quota.h"
#include "server/core/retention.h"
#include "server/core/state.h"

namespace galleon::server {

class PassUsers;

// Times in milliseconds.
struct SchedulerOptions {
  std::string version;  // a worker of another version is refused
  std::vector<QueueConfig> queues = {QueueConfig()};
  std::vector<ProjectQuota> projects = {};
  int64_t lease_ms = 45'000;               // what a worker is promised
  int64_t sync_ms = 500;                   // how often a worker speaks at least
  int64_t reservation_ms = 60'000;         // a rank that its worker has not taken up by then: the attempt is lost
  int64_t start_stall_ms = 2 * 3'600'000;  // nothing new heard of a starting attempt for so long: it is lost
  int64_t straggler_ms = 60'000;           // ranks that outlive the first successful one by so much are killed
  int64_t stop_grace_ms = 30'000;          // for a checkpoint before the end
  int64_t first_backoff_ms = 1'000;
  int64_t longest_backoff_ms = 60'000;
  int64_t longest_outside_backoff_ms = 600'000;  // where something outside does not answer
  uint32_t lost_in_a_row = 3;                    // attempts lost without progress that fail the job
  uint32_t outside_in_a_row = 20;                // the same where something outside does not answer: about two hours
  uint32_t place_faults_in_a_row = 3;            // after so many the scheduler cordons a worker by itself
  int64_t preempted_run_ms = 600'000;            // a job that made room runs so long before it has to again
  int64_t borrower_run_ms = 60'000;              // the same where a queue takes back what it is guaranteed
  int64_t overdue_ms = 600'000;                  // the head of a queue that waits longer goes before lighter queues
  int64_t long_wait_ms = 0;                      // a job that waits longer says so, once; 0: none does
  int64_t gone_retention_ms = 3'600'000;         // a worker that is gone for longer leaves the list
  int64_t ended_retention_ms = 30LL * 24 * 3'600'000;  // a job that ended longer ago leaves the list
  size_t most_ended = 200'000;                         // ended jobs in the list; the oldest leave it first
  std::string jobs_folder;                             // of the jobs' own folders

  // After so long without a word a worker's ranks count as lost: a tenth more than it was promised, for clocks that
  // drift.
  int64_t most_backoff_ms() const { return std::max(longest_backoff_ms, longest_outside_backoff_ms); }
  int64_t held_lease_ms() const { return lease_ms + lease_ms / 10; }
  // A worker so much later than it should have spoken is unreachable; so long it may take until what has ended is known
  // to have ended.
  int64_t missed_syncs_ms() const { return 4 * sync_ms; }
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options) : Scheduler(std::move(options), std::make_unique<State>()) {}
  Scheduler(SchedulerOptions options, std::unique_ptr<State> state)
      : options_(std::move(options)), owned_state_(std::move(state)), state_(*owned_state_) {}

  // --- Recovery: a state that was restored, or restore and replay in order; then recovered() once. Every worker of the
  // journal gets a whole new lease.
  void restore(const v1::StateSnapshot& snapshot) { state_.restore(snapshot); }
  void replay(const v1::JournalEvent& event) { state_.apply(event); }
  void recovered(Now now);

  // --- What users ask.
  struct Submission {
    v1::Job job;
    v1::MemoryPlan plan;
    std::string request_id;
    std::string jobs_folder;  // the job's own folder is made below it
    uint64_t number = 0;      // next_number() or higher
    std::string owner = {};
    bool allow_pending = false;        // accepted although no worker of now could hold it
    std::string readable_folder = {};  // of the job with whose checkpoint it begins
    // Of a member of a group: the group's id, and what it has otherwise than the others.
    std::string group = {};
    std::vector<v1::SweepSetting> settings = {};
  };
  uint64_t next_number() const { return state_.last_job_number() + 1; }
  static std::string job_id(const v1::Job& job, uint64_t number);
  // Refusals carry their reason (refusal.h). The job that a request_id belongs to: null if none; REQUEST_ID_REUSED if
  // it was used for a job that differs.
  absl::StatusOr<const v1::JobState*> find_request(const v1::Job& job, absl::string_view request_id) const;
  // INVALID_ARGUMENT: unknown queue, or a job in `after` that does not exist. As a job can only come after jobs that
  // are there before it, nothing ever waits in a circle. The same for a submission that stores nothing.
  absl::Status check_scheduling(const v1::Job& job) const;
  // The error for an entry of `after` whose job is not there.
  static absl::Status no_job_to_follow(const v1::Job& job, const std::string& entry);
  // The new job's id, or that of the job that the request_id belongs to. Refusals: those of find_request() and of
  // check_scheduling(), and NEVER_FITS.
  absl::StatusOr<std::string> submit(Now now, const Submission& submission);
  // groups.cc. Jobs that are submitted together, all of them or none.
  struct GroupSubmission {
    std::string name;  // with which the group's id begins
    std::string request_id;
    uint32_t max_running = 0;
    std::vector<uint64_t> rungs;
    std::vector<Submission> members;  // without request ids and group; their numbers grow
    std::string owner = {};
  };
  static std::string group_id(absl::string_view name, uint64_t number);
  // The group that a request_id belongs to: null if none; REQUEST_ID_REUSED if it was used for something that differs.
  absl::StatusOr<const v1::GroupState*> find_group_request(const GroupSubmission& submission) const;
  // What can be refused before any memory plan is there. INVALID_ARGUMENT names the member; what check_scheduling()
  // refuses; members in different projects.
  absl::Status check_group(const GroupSubmission& submission) const;
  // The first member that fits nowhere, by name.
  absl::Status check_group_fits(const GroupSubmission& submission) const;
  // The new group's id, or that of the group that the request_id belongs to.
  absl::StatusOr<std::string> submit_group(Now now, const GroupSubmission& submission);
  // A group as users see it; `sees`: whether the caller may see one of its jobs.
  v1::Group describe(const v1::GroupState& group, const std::function<bool(const v1::JobRecord&)>& sees) const;
  // What would become of a job if it were submitted now, and when it is expected to start (0: not known).
  struct Forecast {
    std::string message;
    int64_t start_estimate_ms = 0;
  };
  // Stores nothing. Refusals: those of a submission of a new job.
  absl::StatusOr<Forecast> validate(const v1::Job& job, const v1::MemoryPlan& plan, Now now, bool allow_pending = false,
                                    const std::string& owner = "") const;
  // NOT_FOUND, ABORTED (etag), FAILED_PRECONDITION (terminal). A job that is being cancelled is left as it is. `actor`:
  // who asks, for the record.
  absl::Status cancel(Now now, absl::string_view job_id, absl::string_view etag, absl::string_view reason,
                      absl::string_view actor = "");
  // The same errors, and INVALID_ARGUMENT: nothing to change, or an unknown queue.
  absl::Status reprioritize(Now now, const v1::ReprioritizeJobRequest& request, absl::string_view actor = "");
  // job_orders.cc. NOT_FOUND, ABORTED (etag) and what each says; `actor` as above.
  // JOB_HAS_ENDED; JOB_HOLDS_SLOTS: it is not queued, and is not to be preempted.
  absl::Status hold(Now now, const v1::HoldJobRequest& request, absl::string_view actor = "");
  absl::Status release(Now now, const v1::ReleaseJobRequest& request, absl::string_view actor = "");
  // JOB_HOLDS_NO_SLOTS.
  absl::Status requeue(Now now, const v1::RequeueJobRequest& request, absl::string_view actor = "");
  // JOB_HAS_NOT_ENDED; JOB_HAS_ENDED: it has succeeded.
  absl::Status resume(Now now, const v1::ResumeJobRequest& request, absl::string_view actor = "");
  // JOB_HAS_NOT_ENDED, JOB_IS_NEEDED. It is among the state's removals from then on, with its folder if that lies
  // below `jobs_folder`. What is left of it on purpose.
  absl::StatusOr<v1::DeleteJobResponse> remove(Now now, const v1::DeleteJobRequest& request,
                                               absl::string_view jobs_folder, absl::string_view actor = "");
  // A deleted job's logs and folder are gone.
  void folder_removed(Now now, const std::string& job_id);
  // WORKER_NOT_GONE.
  absl::Status forget_worker(Now now, const v1::ForgetWorkerRequest& request, absl::string_view actor = "");
  // Other queues from now on. Jobs of one that is gone stay in their project; those that run go on, the others wait
  // until it is back or they are moved.
  void reconfigure(Now now, std::vector<QueueConfig> queues, std::vector<ProjectQuota> projects = {});
  // A receiver of notifications has been told so far, or is no more.
  void told(Now now, const v1::ReceiverState& receiver);
  void forget_receiver(Now now, const std::string& name);
  void set_long_wait(int64_t ms) { options_.long_wait_ms = ms; }
  // `ordered`: READY, CORDONED or DRAINING. NOT_FOUND, ABORTED (etag).
  absl::Status order_worker(Now now, absl::string_view worker_id, v1::Worker::State ordered, absl::string_view reason,
                            absl::string_view etag, absl::string_view actor = "");
  // A job as users see it, with progress, position and reason. The job must exist.
  v1::JobRecord describe(const v1::JobState& job, Now now) const;
  // To somebody who is told of these jobs alone; empty: of all.
  using Sees = std::function<bool(const v1::JobRecord&)>;
  v1::Worker describe(const v1::Worker& worker, const Sees& sees = nullptr) const;
  std::string drain_text(const std::map<uint32_t, SlotUse>& leased, const Sees& sees) const;
  // The state that describe() gives, without the rest.
  v1::Worker::State state_now(const v1::Worker& worker) const;
  // Configured queues in their order, then those that only jobs from before name.
  std::vector<v1::Queue> describe_queues(Now now) const;
  // quota.cc: those that have a quota, and those that have jobs.
  std::vector<v1::Project> describe_projects() const;
  // quota.cc. QUOTA_EXCEEDED: with so many jobs more the user or the project would have too many that wait, or it keeps
  // too much in folders already.
  absl::Status check_quota(const std::string& queue, const std::string& owner) const {
    return check_quota(std::map<std::string, uint64_t>{{queue, 1}}, owner);
  }
  // So many jobs in queues of one project.
  absl::Status check_quota(const std::map<std::string, uint64_t>& jobs_of_queues, const std::string& owner) const;

  // --- What workers say. See workers.proto for the errors.
  absl::Status register_worker(Now now, const v1::Worker& worker);
  absl::Status sync(Now now, const v1::SyncWorkerRequest& request);
  // The job's folder is there: workers are told of the reserved attempt. Until then they are not, however long it
  // takes.
  void confirm_start(Now now, const v1::AttemptId& id);
  // The folder cannot be had: the attempt is lost with this reason, as by any outside cause. One that workers may know
  // of already is left alone.
  void refuse_start(Now now, const v1::AttemptId& id, const std::string& reason);
  // How long the answer to a sync may be held back: what the daemon asks, but never so long that its lease is in
  // danger.
  int64_t granted_wait_ms(const v1::SyncWorkerRequest& request) const;
  // The answer to a sync, once its events are durable. `sequence` is that of the request.
  v1::SyncWorkerResponse assignments(Now now, const std::string& worker_id, uint64_t sequence);
  // The number of a worker's registration, for its answer.
  uint64_t session(const std::string& worker_id) const;
  // Changes whenever assignments() would say something new.
  uint64_t assignments_revision(const std::string& worker_id) const;
  // The workers for which it has changed since the last call, in that order, some perhaps more than once.
  std::vector<std::string> take_changed_workers() { return std::exchange(changed_workers_, {}); }
  // How often a worker speaks at least. It grows with their number, so that a large fleet costs no more than a small
  // one; a lease outlasts at least five of them.
  int64_t sync_interval_ms() const;
  absl::Status publish_checkpoint(Now now, const v1::PublishCheckpointRequest& request);
  // OK if that rank of that attempt is or was on that worker.
  absl::Status check_log_source(const v1::AppendLogsRequest& request) const;

  // --- Time passes: leases end, deadlines fall due, queued jobs are placed.
  void tick(Now now);
  // This process ends, and with it what only it knows: who has said that he leaves.
  void shut_down(Now now);

  const State& state() const { return state_; }
  // A round is over: nobody holds a job that has ended, by its address.
  void round_over() { state_.pack(); }
  // A snapshot has been stored.
  void mark_saved() { state_.mark_saved(); }
  const Fleet& fleet() const { return fleet_; }
  const SchedulerOptions& options() const { return options_; }
  // INVALID_ARGUMENT: neither configured nor any job's.
  absl::Status check_queue(absl::string_view id) const;
  // Null: not configured.
  const QueueConfig* queue_config(absl::string_view id) const;
  // What is kept of a queue's jobs once they have ended, its age filled in.
  Retention retention_of(absl::string_view queue) const;
  bool has_events() const { return !events_.empty(); }
  std::vector<v1::JournalEvent> take_events() { return std::exchange(events_, {}); }
  // Did the last tick run a pass of the policy?
  bool placed_in_last_tick() const { return pass_ran_; }
  // As the newest pass found it.
  const std::vector<PendingSlots>& pending_slots() const { return pending_; }

 private:
  // admission.cc. NEVER_FITS: no queue's limit, or no fleet of the workers that are known, all idle, could ever hold
  // it; says what would fit. A fleet without any worker refuses nothing, and with `allow_pending` none does.
  absl::Status check_fits(const v1::Job& job, const v1::MemoryPlan& plan, bool allow_pending) const;
  Forecast forecast(const v1::Job& job, const v1::MemoryPlan& plan, Now now, const std::string& owner) const;

  // quota.cc: a job whose project keeps too much is told before it trains on.
  void check_folder_quota(Now now, const v1::JobState& job);

  // The job itself, once everything is found to be right.
  std::string create(Now now, const Submission& submission);

  // halving.cc
  void take_rungs(Now now, const v1::JobState& job, const v1::RankReport& report);
  void check_rungs(Now now);
  void decide_rung(Now now, const v1::GroupState& group, uint64_t step);
  void yield_slots(Now now);
  // The rung that a job has reached and that its group has still to decide; 0: none.
  uint64_t awaited_rung(const v1::JobState& job) const;
  // Does a queued member wait for nothing but slots, as far as the last pass has found?
  bool wants_slots(const v1::JobState& job) const;
  // A queued job that has reached a rung of its group, while others want slots to reach it: `wait` says so.
  bool lets_others_reach(const v1::JobState& job, Wait& wait) const;

  // reconfigure.cc
  void record_projects(Now now);
  void record_half_lives(Now now);
  void check_long_waits(Now now);
  void give_up_held(Now now, const v1::JobState& job, const std::string& reason);

  // scheduler.cc
  absl::Status unknown_queue(absl::string_view field, absl::string_view id) const;
  absl::StatusOr<const v1::JobState*> known_job(absl::string_view job_id, absl::string_view etag) const;
  // One that has not ended.
  absl::StatusOr<const v1::JobState*> changeable(absl::string_view job_id, absl::string_view etag) const;
  void emit(Now now, v1::JournalEvent event);
  void forget_waiting(const std::string& job_id);
  void touch(const v1::AttemptState& attempt);
  void assignments_changed(const std::string& worker_id, WorkerLive& worker);
  // What is emitted while it lives was asked for by `actor`.
  struct Acting {
    Acting(Scheduler& by, absl::string_view actor) : scheduler(by) { by.actor_ = std::string(actor); }
    ~Acting() { scheduler.actor_.clear(); }
    Scheduler& scheduler;
  };
  AttemptLive& live(Now now, const v1::JobState& job, const v1::AttemptState& attempt);
  const AttemptLive* live_or_null(const v1::JobState& job) const;
  // `grace_ms` for a checkpoint, counted from the first order that the attempt got.
  void order_stop(Now now, const v1::JobState& job, v1::StopOrder::Cause cause, const std::string& reason,
                  int64_t grace_ms, const std::string& for_job_id = "");
  void hand_back(Now now, const v1::JobState& job, v1::StopOrder::Cause cause, const std::string& reason,
                 const std::string& for_job_id = "");
  void move(Now now, const v1::JobState& job, v1::JobRecord::State to);
  void end_job(Now now, const v1::JobState& job, v1::JobRecord::State to, const std::string& message);

  absl::StatusOr<const v1::Worker*> known_worker(absl::string_view worker_id,
                                                 absl::string_view etag) const;  // orders.cc

  // job_orders.cc
  // Who needs an ended job, or its folder below `kept`, in words; empty: nobody.
  std::string needed_by(const v1::JobState& job, const std::string& kept) const;

  // sync.cc
  using Reports = std::map<std::pair<std::string, uint32_t>, const v1::RankReport*>;
  absl::Status check_speaker(const v1::SyncWorkerRequest& request) const;
  void renew_lease(Now now, const v1::SyncWorkerRequest& request, WorkerLive& speaker);
  void take_devices(const v1::SyncWorkerRequest& request, WorkerLive& speaker);

  // places.cc: faults of the place, which are not the job's.
  void take_probe(Now now, const v1::SyncWorkerRequest& request);
  void judge_places(Now now, const v1::JobState& job);
  void blame(Now now, const std::string& worker_id, const std::string& job_id, const v1::RankExit& exit);
  void order_itself(Now now, const std::string& worker_id, v1::Worker::State ordered, const std::string& reason);
  Reports own_reports(const v1::SyncWorkerRequest& request, int& foreign) const;
  void take_report(Now now, const v1::JobState& job, uint32_t rank, const v1::RankReport& report);
  void miss_report(Now now, const v1::JobState& job, uint32_t rank, uint64_t sequence);
  void advance(Now now, const v1::JobState& job);

  // The live attempt of this id that no worker has been told of; null: none.
  const v1::AttemptState* unoffered(Now now, const v1::AttemptId& id);

  // settle.cc: the end of ranks, of attempts, and what becomes of the job.
  void release_rank(Now now, const v1::JobState& job, uint32_t rank, v1::RankExit exit);
  void lose_worker(Now now, const std::string& worker_id, const std::string& reason);
  void close_attempt(Now now, const v1::JobState& job, const std::string& reason);
  void settle(Now now, const v1::JobState& job);
  static int cause_of(const v1::AttemptState& attempt);
  v1::AttemptEnded verdict(Now now, const v1::JobState& job);
  void end_attempt(Now now, const v1::JobState& job);
  struct Cause {
    bool permanent = false;
    bool certainly_place = false;
    bool outside = false;
  };
  void follow(Now now, const v1::JobState& job, const v1::AttemptEnded& ended, const v1::StopOrder& stop, Cause cause);
  void requeue(Now now, const v1::JobState& job, const std::string& message, bool with_backoff);

  // dispatch.cc
  void check_workers(Now now);
  bool holds_nothing_and_leaves(const std::string& worker_id) const;
  void worker_left(Now now, const std::string& worker_id);
  void check_attempts(Now now);
  void check_attempt(Now now, const v1::JobState& job);
  void check_time_limit(Now now, const v1::JobState& job);
  void check_dependencies(Now now);
  void check_holds(Now now);
  void check_queue_timeouts(Now now);
  bool takes_work(const v1::Worker& worker) const;

  // placing.cc: the pass of the policy.
  void place_queued(Now now);
  // What a pass needs of a queued job, and what the last one found.
  struct Waiting {
    Demand demand;
    bool known = false;      // what follows is up to date; it changes when a job is queued or reprioritized
    bool dependent = false;  // comes after other jobs
    bool holding = false;    // slots are held for it
    bool preemptible = true;
    bool configured = false;           // its queue
    size_t queue = 0;                  // if configured: which
    std::vector<std::string> avoided;  // workers that lacked something when it was tried there last
    int64_t limit_ms = kNever;
    int64_t not_before_ms = 0;
    int64_t head_since_ms = -1;  // monotonic: since when it has kept slots; -1: it does not
    const std::string* job_id = nullptr;
    bool decided = false;  // `wait` says why it has not started
    Wait wait;
  };
  // The queued jobs of a pass, in order.
  struct Considered {
    const v1::JobState* job;
    Waiting* waiting;
    size_t queue;
    bool deferred;  // it waits for something else than slots
    size_t index;   // among the deferred, or in the pass
  };
  const SlotBoard& board() const;
  std::vector<QueueUse> queues_in_use() const;
  // Which of the pass's groups the job's is, if that limits how many run.
  using GroupIndices = std::map<absl::string_view, std::optional<size_t>>;
  std::optional<size_t> group_use(const v1::JobState& job, GroupIndices& known, PassInput& input) const;
  PassInput pass_input(Now now, std::vector<Considered>& considered, std::vector<Wait>& deferred) const;
  Waiting& waiting(const v1::JobState& job) const;
  RunningJob running_job(Now now, const v1::JobState& job, const std::vector<QueueUse>& queues, const SlotBoard& board,
                         PassUsers& users) const;
  const Demand& demand(const v1::JobState& job) const;
  bool waits_for_others(Now now, const v1::JobState& job, const Waiting& known, Wait& wait) const;
  // Of queued jobs that would start on a larger fleet.
  void count_pending(const std::vector<const v1::JobState*>& wanting);
  // starts.cc
  void reserve(Now now, const v1::JobState& job, const std::vector<Place>& places);
  void preempt(Now now, const v1::JobState& job, const PassResult::Preemption& preemption,
               const std::vector<std::string>& victims);

  // retention.cc
  // For ages: no later than the newest entry that the journal had at the start, and what has passed since.
  int64_t age_clock_ms(Now now) const;
  void forget_old(Now now);
  void forget_workers(Now now);
  std::vector<v1::JobForgotten> forgettable(Now now);
  v1::JobForgotten forgotten(const JobFacts& facts, const Retention& kept, std::string reason) const;

  // record.cc
  std::string live_message(const v1::JobState& job) const;
  void describe_users(Now now, const QueueConfig& config, v1::Queue& queue) const;  // orders.cc

  SchedulerOptions options_;
  const std::unique_ptr<State> owned_state_;
  State& state_;
  Fleet fleet_;
  std::vector<v1::JournalEvent> events_;
  std::string actor_;
  mutable std::unordered_map<uint64_t, Waiting> waiting_;  // queued jobs by number
  std::vector<PendingSlots> pending_;
  mutable std::optional<SlotBoard> board_;        // as it was in the last pass
  mutable std::optional<SlotBoard> whole_fleet_;  // all workers idle; made when it is asked for
  uint64_t last_revision_ = 0;                    // of any worker's assignments; never the same twice
  std::vector<std::string> changed_workers_;
  bool projects_recorded_ = false;
  bool dirty_ = true;           // a pass of the policy may find something new
  int64_t next_retry_ms_ = 0;   // wall clock: the earliest end of a backoff among queued jobs; 0: none
  int64_t next_spared_ms_ = 0;  // monotonic: the earliest end of a time for which somebody is spared; 0: none
  int64_t next_pass_ms_ = 0;    // monotonic: long queues are not looked at more often than this
  int64_t next_estimate_ms_ = 0;
  bool pass_ran_ = false;
  int64_t next_forget_ms_ = 0;    // monotonic
  int64_t next_waits_ms_ = 0;     // monotonic
  int64_t next_timeouts_ms_ = 0;  // monotonic
  Now start_;                     // of this process
  int64_t journaled_ms_ = 0;      // the newest time that the journal had then
  std::map<std::string, KeptQueue> kept_;
};

// What is to be taken away of a job's folder, if it is one below `jobs_folder`; no folder: nothing.
v1::FolderRemoval removal_of(const v1::JobState& job, const std::string& jobs_folder, bool keep_checkpoints);
// "jobs/x" or "x" as "x".
std::string job_id_of(absl::string_view name);
std::string worker_id_of(absl::string_view name);
// How long a job may run, all attempts together; kNever: as long as it wants.
int64_t time_limit_ms(const v1::Job& job);
// The queue that a job file names, or "default".
std::string queue_of(const v1::Job& job);

}  // namespace galleon::server
