// Users: what they submit, cancel, change and order, again and again until it is answered.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/core/refusal.h"
#include "tests/sim/cluster.h"

namespace galleon::server {

void Cluster::submit(Random& random) {
  v1::Job job;
  job.set_name("job");
  const QueueConfig& queue =
      script_.queues[static_cast<size_t>(between(random, 0, static_cast<int64_t>(script_.queues.size()) - 1))];
  int64_t most = std::min<int64_t>(queue.limit == 0 ? script_.total_slots() : queue.limit, 4);
  if (queue.user_limit_slots != 0) most = std::min<int64_t>(most, queue.user_limit_slots);
  const uint32_t ranks = static_cast<uint32_t>(between(random, 1, std::min<int64_t>(script_.total_slots(), most)));
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_training()->set_steps(static_cast<uint64_t>(between(random, 0, 30)));
  job.mutable_scheduling()->set_queue(queue.id);
  job.mutable_scheduling()->set_priority(static_cast<int32_t>(between(random, 0, 2)));
  job.mutable_scheduling()->set_max_retries(static_cast<uint32_t>(between(random, 0, 3)));
  uint32_t promised = 0;
  for (const QueueConfig& other : script_.queues) promised += other.id == queue.id ? 0 : other.guaranteed;
  // What is not preemptible never gets what others are guaranteed.
  job.mutable_scheduling()->set_preemptible(ranks + promised > script_.total_slots() || chance(random, 0.7));
  if (chance(random, 0.2)) job.mutable_scheduling()->set_time_limit(static_cast<uint64_t>(between(random, 1, 20)));
  if (const std::string* before = any_job(random); before != nullptr && chance(random, 0.3)) {
    const char* conditions[] = {"", "", "any:", "failed:"};
    job.mutable_scheduling()->add_after(absl::StrCat(conditions[between(random, 0, 3)], *before));
  }
  if (chance(random, 0.15)) job.mutable_scheduling()->set_queue_timeout(static_cast<uint64_t>(between(random, 2, 40)));
  v1::MemoryPlan plan;
  for (uint32_t i = 0; i < ranks; ++i) plan.add_ranks()->set_peak_bytes(1 << 20);
  const std::string request_id = absl::StrCat("r", random());
  if (const std::string* other = any_job(random); other != nullptr && chance(random, 0.3))
    job.mutable_model()->set_source(absl::StrCat("/jobs/", *other, "/checkpoints/step-1"));
  const std::string user = absl::StrCat("u", std::hash<std::string>()(request_id) % 3);
  // Sent again until it is answered: the request_id keeps it one job.
  auto attempt = std::make_shared<std::function<void()>>();
  *attempt = [this, job, plan, request_id, user, weak = std::weak_ptr(attempt),
              answered = std::make_shared<bool>(false)] {
    const auto self = weak.lock();
    if (*answered || self == nullptr) return;
    network([this, job, plan, request_id, user, answered] {
      const absl::StatusOr<std::string> id =
          scheduler_->submit(now(), {job, plan, request_id, "/jobs", scheduler_->next_number(), user});
      tally.over_quota += reason_of(id.status()) == v1::ErrorInfo::QUOTA_EXCEEDED;
      const bool durable = commit() || fault_ == Fault::kAnswersBeforeCommit;
      if (!durable || !id.ok()) return;
      acknowledged_jobs_.insert(*id);
      *answered = true;
    });
    at(700, [self] { (*self)(); });
  };
  (*attempt)();
}

void Cluster::sweep(Random& random) {
  Scheduler::GroupSubmission group;
  group.name = "sweep";
  group.request_id = absl::StrCat("g", random());
  group.max_running = static_cast<uint32_t>(between(random, 0, 2));
  for (uint64_t rung = static_cast<uint64_t>(between(random, 1, 6)); group.rungs.size() < 2 && chance(random, 0.7);
       rung += 4)
    group.rungs.push_back(rung);
  Scheduler::Submission member;
  member.job.set_name("member");
  const QueueConfig& queue = script_.queues[0];
  const uint32_t ranks = static_cast<uint32_t>(between(random, 1, std::min<int64_t>(script_.total_slots(), 2)));
  member.job.mutable_parallel()->set_ranks(ranks);
  member.job.mutable_training()->set_steps(static_cast<uint64_t>(between(random, 0, 30)));
  member.job.mutable_scheduling()->set_queue(queue.id);
  member.job.mutable_scheduling()->set_max_retries(static_cast<uint32_t>(between(random, 0, 3)));
  for (const uint64_t rung : group.rungs) member.job.mutable_sweep()->add_rungs(rung);
  for (uint32_t i = 0; i < ranks; ++i) member.plan.add_ranks()->set_peak_bytes(1 << 20);
  member.jobs_folder = "/jobs";
  for (int64_t i = between(random, 2, 6); i > 0; --i) {
    v1::SweepSetting setting;
    setting.set_key("model.seed");
    setting.set_value(absl::StrCat(i));
    member.job.mutable_model()->set_seed(static_cast<uint64_t>(i));
    member.settings = {setting};
    group.members.push_back(member);
  }
  auto attempt = std::make_shared<std::function<void()>>();
  *attempt = [this, group, weak = std::weak_ptr(attempt), answered = std::make_shared<bool>(false)] {
    const auto self = weak.lock();
    if (*answered || self == nullptr) return;
    network([this, group, answered] {
      Scheduler::GroupSubmission numbered = group;
      uint64_t number = scheduler_->next_number();
      for (Scheduler::Submission& one : numbered.members) one.number = number++;
      const absl::StatusOr<std::string> id = scheduler_->submit_group(now(), numbered);
      if (!commit() || !id.ok()) return;
      for (const uint64_t made : scheduler_->state().members(*id))
        acknowledged_jobs_.insert(scheduler_->state().job_by_number(made)->record().job_id());
      *answered = true;
    });
    at(700, [self] { (*self)(); });
  };
  (*attempt)();
}

double Cluster::loss_of(const std::string& job_id, uint64_t rung) {
  uint64_t hash = 14'695'981'039'346'656'037U + rung;
  for (const char c : job_id) hash = (hash ^ static_cast<unsigned char>(c)) * 1'099'511'628'211U;
  hash ^= hash >> 29;
  // Equal losses occur too.
  return hash % 12 == 0 ? std::nan("") : static_cast<double>(hash / 16 % 20);
}

// Each stream always has two jobs queued; now and then somebody is in a hurry.
void Cluster::crowd() {
  if (now_ms_ > kCrowdMs || scheduler_ == nullptr) return;
  for (const Stream& stream : script_.streams) {
    if (stream.pause_ms > 0 && now_ms_ / stream.pause_ms % 2 == 1) continue;
    const std::string& queue = script_.queues[stream.queue].id;
    const auto& queued = shadow_.queue();
    const auto waits = std::count_if(queued.begin(), queued.end(), [&](const auto& entry) {
      const v1::JobRecord& record = entry.second->record();
      return record.queue() == queue && record.priority() == 0 && record.owner() == stream.user &&
             record.job().parallel().ranks() == stream.ranks;
    });
    if (waits < 2) submit_to(stream);
  }
  check_waits();
  check_guarantees();
}

void Cluster::submit_to(const Stream& stream) {
  v1::Job job;
  job.set_name("job");
  job.mutable_parallel()->set_ranks(stream.ranks);
  job.mutable_training()->set_steps(stream.steps);
  job.mutable_scheduling()->set_queue(script_.queues[stream.queue].id);
  job.mutable_scheduling()->set_priority(chance(0.05) ? 1 : 0);
  job.mutable_scheduling()->set_max_retries(3);
  job.mutable_scheduling()->set_preemptible(stream.preemptible);
  v1::MemoryPlan plan;
  for (uint32_t i = 0; i < stream.ranks; ++i) plan.add_ranks()->set_peak_bytes(1 << 20);
  const absl::StatusOr<std::string> id =
      scheduler_->submit(now(), {job, plan, "", "/jobs", scheduler_->next_number(), stream.user});
  promises_.require(id.ok() || scheduler_->fleet().workers.size() < machines_.size(), "what fits is accepted");
  (void)commit();
}

void Cluster::check_guarantees() {
  std::map<std::string, uint32_t> used;
  for (const uint64_t number : shadow_.active()) {
    const v1::JobState& job = *shadow_.job_by_number(number);
    if (const v1::AttemptState* attempt = live_attempt(job); attempt != nullptr)
      for (const v1::RankState& rank : attempt->ranks()) used[job.record().queue()] += !rank.released();
  }
  std::set<std::string> seen;
  std::set<std::string> entitled;
  for (const auto& [key, job] : shadow_.queue()) {
    const v1::JobRecord& record = job->record();
    if (!seen.insert(record.queue()).second) continue;
    const QueueConfig& config = *scheduler_->queue_config(record.queue());
    if (used[record.queue()] + record.job().parallel().ranks() > config.guaranteed) continue;
    entitled.insert(record.job_id());
    const int64_t waited_ms = now_ms_ - entitled_since_.emplace(record.job_id(), now_ms_).first->second;
    tally.longest_guarantee_ms = std::max(tally.longest_guarantee_ms, waited_ms);
    promises_.require(waited_ms <= kLongestGuaranteeMs,
                      absl::StrCat("a queue gets what it is guaranteed within a bound: ", record.job_id()));
  }
  std::erase_if(entitled_since_, [&entitled](const auto& entry) { return !entitled.contains(entry.first); });
}

void Cluster::check_waits() {
  if (script_.runs_long()) return;
  std::set<std::string> waiting;
  for (const auto& [key, job] : shadow_.queue()) {
    const std::string& id = job->record().job_id();
    waiting.insert(id);
    const int64_t waited_ms = now_ms_ - waits_since_.emplace(id, now_ms_).first->second;
    tally.longest_wait_ms = std::max(tally.longest_wait_ms, waited_ms);
    promises_.require(waited_ms <= kLongestWaitMs, absl::StrCat("whoever fits starts within a bound: ", id));
  }
  std::erase_if(waits_since_, [&waiting](const auto& entry) { return !waiting.contains(entry.first); });
}

const std::string* Cluster::any_job(Random& random) const {
  if (acknowledged_jobs_.empty()) return nullptr;
  auto it = acknowledged_jobs_.begin();
  std::advance(it, between(random, 0, static_cast<int64_t>(acknowledged_jobs_.size()) - 1));
  return &*it;
}

void Cluster::cancel(Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  network([this, id = *job] {
    const absl::Status status = scheduler_->cancel(now(), id, "", "");
    if (commit() && status.ok()) acknowledged_cancels_.insert(id);
  });
}

void Cluster::reprioritize(Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  v1::ReprioritizeJobRequest request;
  request.set_name(*job);
  request.set_priority(static_cast<int32_t>(between(random, 0, 4)));
  if (chance(random, 0.3)) request.set_queue(script_.queues.back().id);
  network([this, request] {
    (void)scheduler_->reprioritize(now(), request);
    (void)commit();
  });
}

void Cluster::hold(Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  v1::HoldJobRequest hold;
  hold.set_name(*job);
  hold.set_preempt(chance(random, 0.5));
  const bool release = chance(random, 0.2);
  network([this, hold, release] {
    v1::ReleaseJobRequest request;
    request.set_name(hold.name());
    (void)(release ? scheduler_->release(now(), request) : scheduler_->hold(now(), hold));
    (void)commit();
  });
}

void Cluster::order_job(const Step& step, Random& random) {
  const std::string* job = any_job(random);
  if (job == nullptr) return;
  network([this, name = *job, kind = step.kind] {
    if (kind == Step::Kind::kRequeue) {
      v1::RequeueJobRequest request;
      request.set_name(name);
      (void)scheduler_->requeue(now(), request);
    } else if (kind == Step::Kind::kResume) {
      v1::ResumeJobRequest request;
      request.set_name(name);
      (void)scheduler_->resume(now(), request);
    } else {
      v1::DeleteJobRequest request;
      request.set_name(name);
      (void)scheduler_->remove(now(), request, "/jobs");
    }
    (void)commit();
  });
}

// The files are another, whether the scheduler lives or not; one that dies reads them when it is back.
void Cluster::reconfigure(Random& random) {
  std::vector<QueueConfig> queues = script_.queues;
  for (QueueConfig& queue : queues) queue.project = absl::StrCat("p", between(random, 0, 1));
  if (queues.size() > 1 && chance(random, 0.5)) queues.erase(queues.begin() + between(random, 0, 1));
  reconfigure(queues);
}

void Cluster::reconfigure(const std::vector<QueueConfig>& queues) {
  options_.queues = queues;
  if (scheduler_ == nullptr) return;
  scheduler_->reconfigure(now(), queues);
  (void)commit();
}

void Cluster::order(Random& random) {
  const Machine& machine =
      *machines_[static_cast<size_t>(between(random, 0, static_cast<int64_t>(machines_.size()) - 1))];
  const v1::Worker::State kinds[] = {v1::Worker::READY, v1::Worker::CORDONED, v1::Worker::DRAINING,
                                     v1::Worker::DRAINING};
  const v1::Worker::State ordered = kinds[between(random, 0, 3)];
  network([this, id = machine.worker.worker_id(), ordered] {
    (void)scheduler_->order_worker(now(), id, ordered, "", "");
    (void)commit();
  });
}

}  // namespace galleon::server
