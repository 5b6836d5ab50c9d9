#include "worker/daemon/daemon_loop.h"

#include <poll.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/disk_guard.h"
#include "common/base/log.h"
#include "common/net/bounded_message.h"

namespace galleon {

namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);
// Beside the time that a call waits for its connection; together at most two seconds.
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(500);
// A long poll that is younger is not ended for news: its answer carries the lease.
constexpr absl::Duration kYoungCall = absl::Milliseconds(20);
constexpr size_t kLargestReports = 256 << 10;  // half of what a scheduler takes in a call
constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);
constexpr absl::Duration kLogInterval = absl::Milliseconds(100);
constexpr absl::Duration kGiveUpAfterExit = absl::Seconds(10);
constexpr absl::Duration kTellFirst = absl::Seconds(1);  // for the scheduler to hear that this daemon shuts down

bool worth_retrying(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kResourceExhausted || status.code() == absl::StatusCode::kCancelled;
}

}  // namespace

absl::Status DaemonLoop::run() {
  if (options_.service != nullptr)
    options_.service->ready(absl::StrCat("looks for the scheduler at ", options_.server));
  while (fatal_.ok()) {
    wait_for_events();
    // Before anything else: this process may have been stopped for longer than its lease.
    check_lease();
    inbox_.run_all();
    stop_own();
    tick_ranks();
    watch_devices();
    probe();
    if (leaving_ && left()) break;
    talk_to_scheduler();
    publish_checkpoints();
    ship_logs();
    forget_done();
    if (options_.service != nullptr) options_.service->progressed(clock_.monotonic());
  }
  client_.cancel_sync();
  if (fatal_.ok()) return fatal_;
  end_all(absl::StrCat("ended: ", fatal_.message()));
  const absl::Duration deadline = clock_.monotonic() + absl::Seconds(10);
  const auto alive = [this] {
    return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& entry) { return !entry.second->exited(); });
  };
  while (alive() && clock_.monotonic() < deadline) {
    ::poll(nullptr, 0, 20);
    tick_ranks();
  }
  return fatal_;
}

void DaemonLoop::wait_for_events() {
  std::vector<pollfd> fds = {{inbox_.fd(), POLLIN, 0}};
  if (options_.stop_fd >= 0 && !leaving_) fds.push_back({options_.stop_fd, POLLIN, 0});
  const size_t fixed = fds.size();
  for (const auto& [key, rank] : ranks_) {
    if (rank->fd() < 0) continue;
    fds.push_back({rank->fd(), static_cast<short>(POLLIN | (rank->wants_to_write() ? POLLOUT : 0)), 0});
  }
  ::poll(fds.data(), fds.size(), static_cast<int>(absl::ToInt64Milliseconds(kTick)));
  if (fixed > 1 && fds[1].revents != 0) begin_leaving();
}

void DaemonLoop::check_lease() {
  const absl::Duration now = clock_.monotonic();
  metrics_->set_lease(lease_end_.value_or(absl::ZeroDuration()), lease_);
  if (!lease_end_ || now <= *lease_end_) return;
  end_all(
      absl::StrCat("ended: the lease ran out, the scheduler at ", options_.server, " could not be reached in time"));
}

void DaemonLoop::end_all(const std::string& reason) {
  const absl::Duration now = clock_.monotonic();
  for (const auto& [key, rank] : ranks_) rank->kill(reason, now);
}

void DaemonLoop::tick_ranks() {
  const absl::Duration now = clock_.monotonic();
  uint32_t used = 0;
  for (const auto& [key, rank] : ranks_) {
    urgent_ |= rank->tick(now);
    if (!rank->exited()) ++used;
    uint64_t& shown = shown_changes_[key];
    if (shown != rank->changes()) {
      shown = rank->changes();
      metrics_->update(rank->assignment(), rank->report(), rank->process().pid);
    }
  }
  metrics_->set_slots(options_.slots, used);
}

uint64_t DaemonLoop::all_changes() const {
  uint64_t changes = 0;
  for (const auto& [key, rank] : ranks_) changes += rank->changes();
  return changes;
}

void DaemonLoop::talk_to_scheduler() {
  const absl::Duration now = clock_.monotonic();
  if (now - call_started_ > kProgressInterval && all_changes() != sent_changes_) urgent_ = true;
  if (calling_) {
    if (registered_ && urgent_ && now - call_started_ > kYoungCall) {
      sync_cancelled_ = true;
      client_.cancel_sync();
    }
    return;
  }
  if (now < next_call_) return;
  if (registered_) {
    start_sync();
  } else {
    start_register();
  }
}

void DaemonLoop::back_off() {
  backoff_ = std::clamp(backoff_ * 2, absl::Milliseconds(100), kMaxBackoff);
  next_call_ = clock_.monotonic() + backoff_;
}

void DaemonLoop::start_register() {
  calling_ = true;
  call_started_ = clock_.monotonic();
  v1::RegisterWorkerRequest request;
  *request.mutable_worker() = describe_worker();
  sync_lane_.post([this, request, sent = call_started_] {
    auto response = client_.register_worker(request);
    inbox_.post([this, sent, response = std::move(response)] { finish_register(sent, response); });
  });
}

void DaemonLoop::finish_register(absl::Duration sent, const absl::StatusOr<v1::RegisterWorkerResponse>& response) {
  calling_ = false;
  if (!response.ok()) {
    if (worth_retrying(response.status())) {
      if (!scheduler_lost_)
        log_warning("cannot reach the scheduler at ", options_.server, ": ", response.status().message());
      scheduler_lost_ = true;
      return back_off();
    }
    fatal_ =
        absl::Status(response.status().code(), absl::StrCat("the scheduler at ", options_.server, " refuses worker ",
                                                            options_.name, ": ", response.status().message()));
    return;
  }
  backoff_ = absl::ZeroDuration();
  next_call_ = absl::ZeroDuration();
  scheduler_lost_ = false;
  registered_ = true;
  if (options_.service != nullptr) options_.service->ready(absl::StrCat("is registered at ", options_.server));
  session_ = response->session();
  revision_ = 0;
  lease_ = absl::Milliseconds(response->lease_milliseconds());
  lease_end_ = sent + lease_;
  sync_milliseconds_ = std::max<uint64_t>(1, response->sync_milliseconds());
  rank_options_.jobs_folder = response->jobs_folder();
  jobs_disk_.watch(response->jobs_folder());
  urgent_ = true;
  become_ready();
}

void DaemonLoop::start_sync() {
  calling_ = true;
  call_started_ = clock_.monotonic();
  v1::SyncWorkerRequest request;
  request.set_worker_id(options_.name);
  request.set_incarnation(incarnation_);
  request.set_sequence(++sequence_);
  request.set_session(session_);
  for (const auto& [key, rank] : ranks_) {
    if (rank->listed() || !rank->exited()) *request.add_ranks() = rank->report();
  }
  // One that is too large would be refused again and again, and end the lease.
  const size_t room = kLargestReports / std::max<size_t>(1, static_cast<size_t>(request.ranks_size()));
  for (v1::RankReport& report : *request.mutable_ranks()) shrink_message(report, room);
  // News answers at once: the lease must be renewed even when news never ends.
  request.set_wait_milliseconds(urgent_ || sync_cancelled_ ? 0 : sync_milliseconds_);
  request.set_seen_revision(revision_);
  request.set_leaving(leaving_);
  if (probe_) *request.mutable_probe() = *probe_;
  model_reader_.tell(request);
  if (devices_.gpu_slots() > 0) {
    // Of the processors' shares only what was registered counts; see describe_devices.
    std::vector<v1::DeviceInfo> devices = told_devices_;
    for (uint32_t slot = 0; slot < devices_.gpu_slots(); ++slot) {
      devices[slot] = devices_.describe(slot);
      devices[slot].set_index(slot);
    }
    for (const v1::DeviceInfo& device : devices) *request.add_devices() = device;
    told_devices_ = std::move(devices);
  }
  sent_changes_ = all_changes();
  urgent_ = false;
  sync_cancelled_ = false;
  const bool leaving = leaving_;
  sync_lane_.post([this, request, leaving, sent = call_started_] {
    auto response = client_.sync(request);
    inbox_.post([this, sent, leaving, response = std::move(response)] {
      finish_sync(sent, response);
      leaving_heard_ |= leaving && response.ok();
      leaving_told_ = leaving && response.ok() && response->assignments().empty();
    });
  });
}

void DaemonLoop::finish_sync(absl::Duration sent, const absl::StatusOr<v1::SyncWorkerResponse>& response) {
  calling_ = false;
  if (response.ok()) {
    if (scheduler_lost_) log_info("the scheduler at ", options_.server, " is back");
    scheduler_lost_ = false;
    backoff_ = absl::ZeroDuration();
    lease_ = absl::Milliseconds(response->lease_milliseconds());
    lease_end_ = sent + lease_;
    if (response->sync_milliseconds() > 0) sync_milliseconds_ = response->sync_milliseconds();
    // A scheduler that answers at once, whatever it was asked, must not be asked without pause.
    next_call_ = response->revision() == revision_ ? clock_.monotonic() + absl::Milliseconds(5) : absl::ZeroDuration();
    revision_ = response->revision();
    // The answer may have waited here for longer than the lease.
    check_lease();
    return apply(*response);
  }
  const absl::Status& status = response.status();
  if (status.code() == absl::StatusCode::kCancelled && sync_cancelled_) {
    next_call_ = absl::ZeroDuration();
  } else if (status.code() == absl::StatusCode::kNotFound) {
    log_warning("the scheduler does not know this worker any more; registering again");
    registered_ = false;
    back_off();
  } else if (status.code() == absl::StatusCode::kAborted) {
    fatal_ = status;
  } else {
    if (!scheduler_lost_) log_warning("the scheduler at ", options_.server, " does not answer: ", status.message());
    scheduler_lost_ = true;
    back_off();
  }
}

void DaemonLoop::apply(const v1::SyncWorkerResponse& response) {
  const absl::Duration now = clock_.monotonic();
  model_reader_.update(response.resolve(), rank_options_, [this] { urgent_ = true; });
  std::map<std::string, const v1::Assignment*> wanted;
  for (const v1::Assignment& assignment : response.assignments()) {
    wanted[HeldRank::key(assignment.id(), assignment.rank())] = &assignment;
  }
  for (const auto& [key, rank] : ranks_) {
    if (!wanted.contains(key)) {
      rank->unlist(now);
      urgent_ = urgent_ || !rank->exited();
    }
  }
  for (const auto& [key, assignment] : wanted) {
    const auto held = ranks_.find(key);
    if (held != ranks_.end()) {
      held->second->update(*assignment, now);
      held->second->grant_lease(*lease_end_, now);
    } else if (assignment->has_job() && !leaving_ && now < *lease_end_) {
      const std::string folder = absl::StrCat(options_.data, "/attempts/", key);
      ranks_[key] = HeldRank::begin(*assignment, folder, rank_options_, *lease_end_, now);
      remember_failed(*ranks_[key]);
      urgent_ = true;
    }
  }
}

void DaemonLoop::publish_checkpoints() {
  const absl::Duration now = clock_.monotonic();
  for (const auto& [key, rank] : ranks_) {
    if (now < publish_after_[key]) continue;
    const std::optional<v1::CheckpointReady> checkpoint = rank->take_checkpoint();
    if (!checkpoint) continue;
    v1::PublishCheckpointRequest request;
    *request.mutable_id() = rank->assignment().id();
    request.set_step(checkpoint->step());
    request.set_folder(checkpoint->folder());
    request.set_worker_id(options_.name);
    publish_lane_.post([this, request, key = key, folder = rank->assignment().job_folder(),
                        until = lease_end_.value_or(absl::ZeroDuration())]() mutable {
      request.set_folder_bytes(folder_bytes(folder));
      // The process may have been stopped on the way here.
      const absl::Status status = clock_.monotonic() <= until ? client_.publish_checkpoint(request)
                                                              : absl::UnavailableError("the lease has ended");
      inbox_.post([this, request, key, status] {
        const auto held = ranks_.find(key);
        if (held == ranks_.end()) return;
        if (worth_retrying(status)) {
          publish_after_[key] = clock_.monotonic() + absl::Milliseconds(500);
          return held->second->retry_checkpoint();
        }
        held->second->decide(request.step(), status.ok(), std::string(status.message()));
      });
    });
  }
}

void DaemonLoop::ship_logs() {
  const absl::Duration now = clock_.monotonic();
  if (logs_in_flight_ || !registered_ || now < next_logs_ || ranks_.empty()) return;
  // In turns, so that one talkative rank does not silence the others.
  auto it = ranks_.upper_bound(last_log_key_);
  for (size_t i = 0; i < ranks_.size(); ++i, ++it) {
    if (it == ranks_.end()) it = ranks_.begin();
    const std::optional<HeldRank::LogPiece> piece = it->second->next_log();
    if (!piece) continue;
    last_log_key_ = it->first;
    logs_in_flight_ = true;
    v1::AppendLogsRequest request;
    *request.mutable_id() = it->second->assignment().id();
    request.set_rank(it->second->assignment().rank());
    request.set_offset(piece->chunk.offset);
    request.set_data(piece->chunk.data);
    request.set_complete(piece->complete);
    request.set_worker_id(options_.name);
    log_lane_.post([this, request, piece = *piece, key = it->first] {
      const absl::StatusOr<uint64_t> stored = client_.append_logs(request);
      inbox_.post([this, piece, key, stored] {
        logs_in_flight_ = false;
        const auto held = ranks_.find(key);
        if (held == ranks_.end()) return;
        if (stored.ok()) {
          held->second->acknowledge_log(piece, *stored);
        } else if (stored.status().code() == absl::StatusCode::kNotFound) {
          log_warning("the scheduler does not take the log of ", key, ": ", stored.status().message());
          held->second->abandon_log();
        } else {
          next_logs_ = clock_.monotonic() + kProgressInterval;
        }
      });
    });
    return;
  }
  next_logs_ = now + kLogInterval;
}

void DaemonLoop::forget_done() {
  for (auto it = ranks_.begin(); it != ranks_.end();) {
    const HeldRank& rank = *it->second;
    if (!rank.exited() || rank.listed() || !rank.log_done()) {
      ++it;
      continue;
    }
    std::error_code error;
    std::filesystem::remove_all(rank.folder(), error);
    if (error) log_warning("cannot remove ", rank.folder(), ": ", error.message());
    shown_changes_.erase(it->first);
    publish_after_.erase(it->first);
    it = ranks_.erase(it);
  }
}

void DaemonLoop::begin_leaving() {
  leaving_ = true;
  urgent_ = true;
  if (options_.service != nullptr) options_.service->stopping();
  log_info("shutting down: trainers are asked to write a checkpoint and end");
  stop_own_at_ = clock_.monotonic() + (registered_ && !scheduler_lost_ ? kTellFirst : absl::ZeroDuration());
}

// Only once the scheduler knows why: ranks elsewhere end with ours, and one that ended first would count as lost.
void DaemonLoop::stop_own() {
  if (!stop_own_at_ || (!leaving_heard_ && clock_.monotonic() < *stop_own_at_)) return;
  stop_own_at_.reset();
  const absl::Duration now = clock_.monotonic();
  const std::string reason = absl::StrCat("worker ", options_.name, " shuts down");
  for (const auto& [key, rank] : ranks_) rank->stop(reason, options_.stop_grace, now);
}

bool DaemonLoop::left() {
  const bool ended =
      std::all_of(ranks_.begin(), ranks_.end(), [](const auto& entry) { return entry.second->exited(); });
  if (!ended) return false;
  // What the scheduler was not told stays in the folder, and the next daemon tells it.
  if (!give_up_leaving_) give_up_leaving_ = clock_.monotonic() + kGiveUpAfterExit;
  if (clock_.monotonic() > *give_up_leaving_) {
    log_warning("leaving without the scheduler's answer");
    return true;
  }
  const bool shipped =
      std::all_of(ranks_.begin(), ranks_.end(), [](const auto& entry) { return entry.second->log_done(); });
  return (leaving_told_ && shipped) || (!registered_ && ranks_.empty());
}

}  // namespace galleon
