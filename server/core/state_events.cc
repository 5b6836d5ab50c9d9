// What is told of each change to those who watch: kept with its job or worker, and the newest of all together.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/core/state.h"

namespace galleon::server {

namespace {

constexpr int kKeptEvents = 100;  // of each job and worker

// Keeps the newest.
void keep(google::protobuf::RepeatedPtrField<v1::Event>& events, v1::Event event, uint64_t& dropped) {
  *events.Add() = std::move(event);
  if (events.size() <= kKeptEvents) return;
  dropped = events.Get(0).revision();
  events.DeleteSubrange(0, 1);
}

}  // namespace

v1::Event& State::made_event(absl::string_view kind, std::string message) {
  v1::Event& event = recent_.emplace_back();
  event.set_revision(revision_);
  event.set_time_ms(time_ms_);
  event.set_kind(std::string(kind));
  event.set_message(std::move(message));
  event.set_actor(actor_);
  return event;
}

void State::note(v1::JobState& job, absl::string_view kind, std::string message) {
  v1::Event& event = made_event(kind, std::move(message));
  event.set_subject(job.record().name());
  uint64_t dropped = job.dropped();
  keep(*job.mutable_events(), event, dropped);
  job.set_dropped(dropped);
}

void State::note_worker(const std::string& worker_id, absl::string_view kind, std::string message) {
  v1::Event& event = made_event(kind, std::move(message));
  event.set_subject(absl::StrCat("workers/", worker_id));
  v1::WorkerEvents& events = worker_events_[worker_id];
  events.set_worker_id(worker_id);
  uint64_t dropped = events.dropped();
  keep(*events.mutable_events(), event, dropped);
  events.set_dropped(dropped);
}

void State::note_gone(std::string subject, absl::string_view kind) {
  made_event(kind, "").set_subject(std::move(subject));
  forgotten_ = revision_;
}

bool State::events_after(uint64_t revision, absl::string_view subject, size_t most,
                         std::vector<v1::Event>& events) const {
  const auto take = [&](const auto& from) {
    auto it = std::partition_point(from.begin(), from.end(),
                                   [revision](const v1::Event& event) { return event.revision() <= revision; });
    for (; it != from.end() && events.size() < most; ++it) {
      if (subject.empty() || it->subject() == subject) events.push_back(*it);
    }
  };
  if (!subject.empty()) {
    uint64_t dropped = forgotten_;
    const bool of_job = subject.substr(0, 5) == "jobs/";
    const std::string id(subject.substr(subject.find('/') + 1));
    if (of_job) {
      if (const v1::JobState* found = job(id); found != nullptr) {
        dropped = found->dropped();
        take(found->events());
      }
    } else if (const auto it = worker_events_.find(id); it != worker_events_.end()) {
      dropped = it->second.dropped();
      take(it->second.events());
    }
    return revision == 0 || revision >= dropped;
  }
  if (revision >= recent_complete_) {
    take(recent_);
    return true;
  }
  uint64_t dropped = forgotten_;
  std::vector<v1::Event> all;
  const auto collect = [&](const auto& holder) {
    dropped = std::max(dropped, holder.dropped());
    for (const v1::Event& event : holder.events()) {
      if (event.revision() > revision) all.push_back(event);
    }
  };
  for (const auto& [number, job] : jobs_) collect(*job);
  for (const auto& [id, worker] : worker_events_) collect(worker);
  std::sort(all.begin(), all.end(), [](const v1::Event& a, const v1::Event& b) { return a.revision() < b.revision(); });
  take(all);
  return revision == 0 || revision >= dropped;
}

}  // namespace galleon::server
