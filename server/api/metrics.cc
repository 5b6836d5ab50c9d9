#include "server/api/metrics.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace galleon::server {

namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kLatency = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01,
                                              0.02,   0.05,   0.1,    0.2,   0.5,   1};
const Histogram::BucketBoundaries kLong = {1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600};
const Histogram::BucketBoundaries kBatch = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

// As server/core/settle.cc names them.
constexpr const char* kLossReasons[] = {"out_of_memory", "signal",  "device_failed", "worker_lost", "forgotten",
                                        "not_started",   "stopped", "place",         "outside"};

template <typename Builder>
auto& family(Builder builder, prometheus::Registry& registry, const char* name, const char* help) {
  return builder.Name(name).Help(help).Register(registry);
}

std::string lower(const std::string& text) {
  return absl::AsciiStrToLower(text);
}

}  // namespace

struct Metrics::Series {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  Family<Gauge>& jobs = family(prometheus::BuildGauge(), *registry, "galleon_jobs", "Jobs by queue and state.");
  Family<Gauge>& held = family(prometheus::BuildGauge(), *registry, "galleon_jobs_held",
                               "Queued jobs that somebody holds, by queue; galleon_jobs counts them too.");
  Family<Gauge>& slots =
      family(prometheus::BuildGauge(), *registry, "galleon_slots",
             "Slots of registered workers: free, leased, or unavailable (unhealthy, or their worker takes no work).");
  Family<Gauge>& workers = family(prometheus::BuildGauge(), *registry, "galleon_workers", "Workers by state.");
  Family<Gauge>& unfit = family(prometheus::BuildGauge(), *registry, "galleon_workers_unfit",
                                "Workers that the scheduler cordoned by itself, because jobs cannot run there.");
  std::map<std::string, std::vector<std::pair<Family<Gauge>*, Gauge*>>> queues_known;  // of the loop's thread
  Family<Gauge>& pending = family(
      prometheus::BuildGauge(), *registry, "galleon_slots_pending",
      "Slots that jobs would take at once if they were there, by queue, device and the labels that a worker must have. "
      "Jobs that are held, or wait for others, for their time or for a limit, are not among them.");
  std::map<std::vector<std::string>, Gauge*> pending_known;  // of the loop's thread
  Family<Histogram>& queue_wait = family(prometheus::BuildHistogram(), *registry, "galleon_queue_wait_seconds",
                                         "From being queued to slots being reserved.");
  Family<Histogram>& attempts = family(prometheus::BuildHistogram(), *registry, "galleon_attempt_duration_seconds",
                                       "Length of ended attempts by outcome.");
  Family<Counter>& lost =
      family(prometheus::BuildCounter(), *registry, "galleon_attempts_lost_total", "Lost attempts by reason.");
  Family<Counter>& evictions = family(prometheus::BuildCounter(), *registry, "galleon_evictions_total",
                                      "Attempts told to stop and write a checkpoint, by reason.");
  Family<Counter>& forgotten =
      family(prometheus::BuildCounter(), *registry, "galleon_jobs_forgotten_total",
             "Ended jobs that left the list, by queue and reason: age, or count where there were too many.");
  Histogram& pass = family(prometheus::BuildHistogram(), *registry, "galleon_decision_pass_seconds",
                           "Time of one pass over deadlines and the queue.")
                        .Add({}, kLatency);
  Histogram& commit = family(prometheus::BuildHistogram(), *registry, "galleon_journal_commit_seconds",
                             "Time until a batch of events is durable.")
                          .Add({}, kLatency);
  Histogram& batch =
      family(prometheus::BuildHistogram(), *registry, "galleon_journal_batch_events", "Events in one commit.")
          .Add({}, kBatch);
  Histogram& compact =
      family(prometheus::BuildHistogram(), *registry, "galleon_journal_snapshot_seconds", "Time of taking a snapshot.")
          .Add({}, kLatency);
  Family<Gauge>& project_queued =
      family(prometheus::BuildGauge(), *registry, "galleon_project_queued_jobs", "Jobs that wait, by project.");
  Family<Gauge>& project_folders =
      family(prometheus::BuildGauge(), *registry, "galleon_project_folder_bytes",
             "Bytes of jobs' folders by project, as measured at each published checkpoint.");
  Family<Gauge>& project_logs = family(prometheus::BuildGauge(), *registry, "galleon_project_log_bytes",
                                       "Bytes of logs that the scheduler keeps, by project.");
  std::map<std::string, Gauge*> logs_known;  // of the loop's thread
  Family<Gauge>& project_limits = family(prometheus::BuildGauge(), *registry, "galleon_project_quota",
                                         "What a project may have at most, by resource; absent: no limit.");
  std::map<std::pair<std::string, std::string>, Gauge*> limits_known;  // of the loop's thread
  std::map<std::string, std::pair<Gauge*, Gauge*>> projects_known;
  Family<Counter>& over_quota = family(prometheus::BuildCounter(), *registry, "galleon_quota_refusals_total",
                                       "Submits refused for a quota that is used up, by project and resource.");
  Gauge& reloaded = family(prometheus::BuildGauge(), *registry, "galleon_config_last_reload_successful",
                           "0 if the last reload found a fault and left all as it was; 1 from the start.")
                        .Add({}, 1);
  Family<Counter>& sent = family(prometheus::BuildCounter(), *registry, "galleon_notifications_sent_total",
                                 "Notifications that a receiver took.");
  Family<Counter>& failed = family(prometheus::BuildCounter(), *registry, "galleon_notifications_failed_total",
                                   "Calls to a receiver that did not answer 2xx in time; each is followed by another.");
  Family<Counter>& given_up = family(prometheus::BuildCounter(), *registry, "galleon_notifications_given_up_total",
                                     "Notifications that a receiver did not take within a day.");
  Family<Gauge>& behind = family(prometheus::BuildGauge(), *registry, "galleon_notifications_behind_seconds",
                                 "How long ago what a receiver is told next happened; 0: it has been told everything.");
  std::map<std::string, Gauge*> behind_known;  // of the loop's thread
  Family<Counter>& requests = family(prometheus::BuildCounter(), *registry, "galleon_grpc_requests_total",
                                     "Answered gRPC calls by method and code.");
};

Metrics::Metrics() : series_(std::make_unique<Series>()) {
  // All at zero from the start: a series that begins with its first event hides that event from increase() and rate().
  for (int outcome = v1::Attempt::SUCCEEDED; outcome < v1::Attempt::Outcome_ARRAYSIZE; ++outcome) {
    const std::string& name = v1::Attempt::Outcome_Name(static_cast<v1::Attempt::Outcome>(outcome));
    series_->attempts.Add({{"outcome", lower(name)}}, kLong);
  }
  for (const char* reason : kLossReasons) series_->lost.Add({{"reason", reason}});
  for (int cause = v1::StopOrder::TIME_LIMIT; cause < v1::StopOrder::Cause_ARRAYSIZE; ++cause) {
    if (!v1::StopOrder::Cause_IsValid(cause)) continue;
    const std::string& name = v1::StopOrder::Cause_Name(static_cast<v1::StopOrder::Cause>(cause));
    series_->evictions.Add({{"reason", lower(name)}});
  }
}

Metrics::~Metrics() = default;

std::shared_ptr<prometheus::Collectable> Metrics::collectable() const {
  return series_->registry;
}

void Metrics::committed(const Scheduler& scheduler, const std::vector<v1::JournalEvent>& events,
                        absl::Duration commit) {
  series_->commit.Observe(absl::ToDoubleSeconds(commit));
  series_->batch.Observe(static_cast<double>(events.size()));
  for (const v1::JournalEvent& event : events) {
    if (event.has_attempt_reserved()) {
      const v1::JobState* job = scheduler.state().job(event.attempt_reserved().id().job_id());
      const std::string& queue = job->record().queue();
      const double wait = static_cast<double>(std::max<int64_t>(0, event.time_ms() - job->queued_time_ms())) / 1000.0;
      series_->queue_wait.Add({{"queue", queue}}, kLong).Observe(wait);
    } else if (event.has_attempt_ended()) {
      const v1::AttemptEnded& ended = event.attempt_ended();
      const v1::JobState* job = scheduler.state().job(ended.id().job_id());
      const int64_t start = job->attempts(static_cast<int>(ended.id().attempt()) - 1).attempt().start_time_ms();
      series_->attempts.Add({{"outcome", lower(v1::Attempt::Outcome_Name(ended.outcome()))}}, kLong)
          .Observe(static_cast<double>(std::max<int64_t>(0, event.time_ms() - start)) / 1000.0);
      if (ended.outcome() == v1::Attempt::LOST) series_->lost.Add({{"reason", ended.reason()}}).Increment();
    } else if (event.has_job_forgotten()) {
      const v1::JobForgotten& gone = event.job_forgotten();
      series_->forgotten.Add({{"queue", gone.queue()}, {"reason", gone.by_age() ? "age" : "count"}}).Increment();
    } else if (event.has_stop_ordered()) {
      const v1::StopOrder::Cause cause = event.stop_ordered().stop().cause();
      if (cause != v1::StopOrder::CANCEL)
        series_->evictions.Add({{"reason", lower(v1::StopOrder::Cause_Name(cause))}}).Increment();
    }
  }
}

void Metrics::compacted(absl::Duration snapshot) {
  series_->compact.Observe(absl::ToDoubleSeconds(snapshot));
}

void Metrics::decided(absl::Duration pass) {
  series_->pass.Observe(absl::ToDoubleSeconds(pass));
}

// Queues that are configured, and others as long as the state knows jobs of them.
void Metrics::queue_gauges(const Scheduler& scheduler) {
  std::map<std::string, std::map<int, int64_t>> queues;
  for (const auto& [key, count] : scheduler.state().counts())
    if (count > 0) queues[key.first][key.second] = count;
  for (const QueueConfig& queue : scheduler.options().queues) queues[queue.id];
  for (const auto& [queue, counts] : queues) {
    auto& known = series_->queues_known[queue];
    if (known.empty()) {
      series_->queue_wait.Add({{"queue", queue}}, kLong);  // at zero from the start, as those above
      for (int state = v1::JobRecord::QUEUED; state <= v1::JobRecord::CANCELLING; ++state) {
        const std::string name = lower(v1::JobRecord::State_Name(static_cast<v1::JobRecord::State>(state)));
        known.emplace_back(&series_->jobs, &series_->jobs.Add({{"queue", queue}, {"state", name}}));
      }
      known.emplace_back(&series_->held, &series_->held.Add({{"queue", queue}}));
    }
    for (int state = v1::JobRecord::QUEUED; state <= v1::JobRecord::CANCELLING; ++state) {
      const auto it = counts.find(state);
      known[static_cast<size_t>(state - v1::JobRecord::QUEUED)].second->Set(
          it == counts.end() ? 0 : static_cast<double>(it->second));
    }
    const auto held = scheduler.state().held_counts().find(queue);
    known.back().second->Set(held == scheduler.state().held_counts().end() ? 0 : static_cast<double>(held->second));
  }
  std::erase_if(series_->queues_known, [&](const auto& entry) {
    if (queues.contains(entry.first)) return false;
    for (const auto& [family, gauge] : entry.second) family->Remove(gauge);
    series_->queue_wait.Remove(&series_->queue_wait.Add({{"queue", entry.first}}, kLong));
    return true;
  });
}

void Metrics::pending_gauges(const Scheduler& scheduler) {
  std::map<std::vector<std::string>, uint64_t> pending;
  // One series for each queue stays, at zero: what scales workers finds it from the start.
  for (const QueueConfig& queue : scheduler.options().queues) pending[{queue.id, "auto", ""}] = 0;
  for (const PendingSlots& slots : scheduler.pending_slots())
    pending[{slots.queue, slots.device, slots.labels}] = slots.slots;
  for (const auto& [key, slots] : pending) {
    Gauge*& known = series_->pending_known[key];
    if (known == nullptr) known = &series_->pending.Add({{"queue", key[0]}, {"device", key[1]}, {"labels", key[2]}});
    known->Set(static_cast<double>(slots));
  }
  std::erase_if(series_->pending_known, [&](const auto& entry) {
    if (pending.contains(entry.first)) return false;
    series_->pending.Remove(entry.second);
    return true;
  });
}

void Metrics::gauges(const Scheduler& scheduler) {
  queue_gauges(scheduler);
  pending_gauges(scheduler);
  std::map<std::string, int> workers = {{"ready", 0},   {"cordoned", 0},    {"draining", 0},
                                        {"drained", 0}, {"unreachable", 0}, {"gone", 0}};
  double free = 0;
  double leased = 0;
  double unavailable = 0;
  double unfit = 0;
  for (const auto& [id, worker] : scheduler.state().workers()) {
    const v1::Worker::State state = scheduler.state_now(worker);
    ++workers[lower(v1::Worker::State_Name(state))];
    unfit += worker.ordered_by_scheduler() && state != v1::Worker::GONE;
    const auto live = scheduler.fleet().workers.find(id);
    if (state == v1::Worker::GONE || live == scheduler.fleet().workers.end()) continue;
    const std::map<uint32_t, SlotUse>& used = scheduler.state().leased_slots(id);
    const std::vector<v1::DeviceInfo>& devices = live->second.devices;
    for (size_t slot = 0; slot < devices.size(); ++slot) {
      if (used.contains(static_cast<uint32_t>(slot))) {
        ++leased;
      } else if (state == v1::Worker::READY && devices[slot].healthy()) {
        ++free;
      } else {
        ++unavailable;
      }
    }
  }
  project_gauges(scheduler);
  for (const auto& [state, count] : workers) series_->workers.Add({{"state", state}}).Set(count);
  series_->unfit.Add({}).Set(unfit);
  series_->slots.Add({{"state", "free"}}).Set(free);
  series_->slots.Add({{"state", "leased"}}).Set(leased);
  series_->slots.Add({{"state", "unavailable"}}).Set(unavailable);
}

void Metrics::project_gauges(const Scheduler& scheduler) {
  std::map<std::string, UserInProject> uses;
  std::map<std::pair<std::string, std::string>, uint64_t> limits;
  for (const QueueConfig& queue : scheduler.options().queues) uses[queue.project];
  for (const auto& [project, users] : scheduler.state().usage().projects()) uses[project];
  for (auto& [project, use] : uses) {
    use = scheduler.state().usage().in_project(project);
    const QuotaLimits limit = quota_of(scheduler.options().projects, project).all;
    limits[{project, "queued"}] = limit.queued;
    limits[{project, "submits_per_minute"}] = limit.submits_per_minute;
    limits[{project, "log_bytes"}] = limit.log_bytes;
    limits[{project, "folder_bytes"}] = limit.folder_bytes;
    auto& [queued, folders] = series_->projects_known[project];
    if (queued == nullptr) {
      queued = &series_->project_queued.Add({{"project", project}});
      folders = &series_->project_folders.Add({{"project", project}});
    }
    queued->Set(static_cast<double>(use.queued));
    folders->Set(static_cast<double>(use.folder_bytes));
  }
  std::erase_if(series_->projects_known, [&](const auto& entry) {
    if (uses.contains(entry.first)) return false;
    series_->project_queued.Remove(entry.second.first);
    series_->project_folders.Remove(entry.second.second);
    return true;
  });
  for (const auto& [key, limit] : limits) {
    Gauge*& known = series_->limits_known[key];
    if (limit > 0 && known == nullptr)
      known = &series_->project_limits.Add({{"project", key.first}, {"resource", key.second}});
    if (limit > 0) known->Set(static_cast<double>(limit));
  }
  std::erase_if(series_->limits_known, [&](const auto& entry) {
    const auto it = limits.find(entry.first);
    if (it != limits.end() && it->second > 0) return false;
    if (entry.second != nullptr) series_->project_limits.Remove(entry.second);
    return true;
  });
}

void Metrics::logs_kept(const std::map<std::string, uint64_t>& projects) {
  for (const auto& [project, bytes] : projects) {
    Gauge*& known = series_->logs_known[project];
    if (known == nullptr) known = &series_->project_logs.Add({{"project", project}});
    known->Set(static_cast<double>(bytes));
  }
  std::erase_if(series_->logs_known, [&](const auto& entry) {
    if (projects.contains(entry.first)) return false;
    series_->project_logs.Remove(entry.second);
    return true;
  });
}

void Metrics::over_quota(const std::string& project, const std::string& resource) {
  series_->over_quota.Add({{"project", project}, {"resource", resource}}).Increment();
}

void Metrics::notified(const std::string& receiver, SendResult result) {
  Family<Counter>& counted = result == SendResult::kSent     ? series_->sent
                             : result == SendResult::kFailed ? series_->failed
                                                             : series_->given_up;
  counted.Add({{"receiver", receiver}}).Increment();
}

void Metrics::notifications_behind(const std::map<std::string, double>& behind) {
  std::map<std::string, Gauge*>& known = series_->behind_known;
  for (const auto& [receiver, seconds] : behind) {
    auto [it, added] = known.try_emplace(receiver, nullptr);
    if (added) {
      it->second = &series_->behind.Add({{"receiver", receiver}});
      // At zero from the start, as those of attempts.
      for (Family<Counter>* counter : {&series_->sent, &series_->failed, &series_->given_up})
        counter->Add({{"receiver", receiver}});
    }
    it->second->Set(seconds);
  }
  std::erase_if(known, [&](const auto& entry) {
    if (behind.contains(entry.first)) return false;
    series_->behind.Remove(entry.second);
    return true;
  });
}

void Metrics::reloaded(bool ok) {
  series_->reloaded.Set(ok ? 1 : 0);
}

void Metrics::request(absl::string_view method, absl::string_view code) {
  series_->requests.Add({{"method", std::string(method)}, {"code", std::string(code)}}).Increment();
}

}  // namespace galleon::server
