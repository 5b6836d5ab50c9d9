// Faults of the place: a worker that lacks what ranks need is not the job's fault. The next attempt goes elsewhere; a
// worker at which jobs cannot run is cordoned, and comes back once a probe of its own passes.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/scheduler.h"

namespace galleon::server {

void Scheduler::order_itself(Now now, const std::string& worker_id, v1::Worker::State ordered,
                             const std::string& reason) {
  WorkerLive& live = fleet_.workers[worker_id];
  live.faults.clear();
  live.probe_at_order = live.probe.number();
  v1::JournalEvent event;
  v1::WorkerOrdered& order = *event.mutable_worker_ordered();
  order.set_worker_id(worker_id);
  order.set_ordered(ordered);
  order.set_reason(reason);
  order.set_by_scheduler(true);
  emit(now, std::move(event));
}

void Scheduler::take_probe(Now now, const v1::SyncWorkerRequest& request) {
  WorkerLive& speaker = fleet_.workers[request.worker_id()];
  if (!request.has_probe() || request.probe().number() <= speaker.probe.number()) return;
  speaker.probe = request.probe();
  const v1::Worker& worker = *state_.worker(request.worker_id());
  if (speaker.probe.number() <= speaker.probe_at_order) return;
  if (!speaker.probe.fault().empty()) {
    if (worker.ordered() == v1::Worker::READY)
      order_itself(now, request.worker_id(), v1::Worker::CORDONED, speaker.probe.fault());
    return;
  }
  const bool still_fails = std::any_of(speaker.probe.failing_job_ids().begin(), speaker.probe.failing_job_ids().end(),
                                       [&speaker](const std::string& id) { return speaker.cordoned_for.contains(id); });
  if (!worker.ordered_by_scheduler() || still_fails) return;
  order_itself(now, request.worker_id(), v1::Worker::READY, "a probe has passed");
  speaker.cordoned_for.clear();
}

// The job trains: where it could not run before, the place was at fault, and those where it runs are sound.
void Scheduler::judge_places(Now now, const v1::JobState& job) {
  std::set<std::string> here;
  for (const v1::RankState& rank : live_attempt(job)->ranks()) {
    here.insert(rank.worker_id());
    if (const auto it = fleet_.workers.find(rank.worker_id()); it != fleet_.workers.end()) it->second.faults.clear();
  }
  for (const v1::RankState* rank : failed_places(job)) {
    if (rank->exit().doubtful() && !here.contains(rank->worker_id()))
      blame(now, rank->worker_id(), job.record().job_id(), rank->exit());
  }
}

void Scheduler::blame(Now now, const std::string& worker_id, const std::string& job_id, const v1::RankExit& exit) {
  const auto it = fleet_.workers.find(worker_id);
  if (it == fleet_.workers.end()) return;
  std::vector<std::string>& faults = it->second.faults;
  if (exit.doubtful() && std::find(faults.begin(), faults.end(), job_id) != faults.end()) return;
  faults.push_back(job_id);
  const v1::Worker* worker = state_.worker(worker_id);
  if (faults.size() < options_.place_faults_in_a_row || worker == nullptr || worker->ordered() != v1::Worker::READY)
    return;
  it->second.cordoned_for = std::set<std::string>(faults.begin(), faults.end());
  order_itself(now, worker_id, v1::Worker::CORDONED,
               absl::StrCat(faults.size(), " attempts in a row could not run there; the last: ", exit.message()));
}

}  // namespace galleon::server
