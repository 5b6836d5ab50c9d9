// What is told of each change to those who watch: kept with its job or worker, and the newest of all together.
#include <algorithm>
#include <iterator>
#include <queue>

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

void State::note_gone(std::string subject, absl::string_view kind, std::string message) {
  made_event(kind, std::move(message)).set_subject(std::move(subject));
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
  for (const auto& [id, worker] : worker_events_) {
    dropped = std::max(dropped, worker.dropped());
    std::copy_if(worker.events().begin(), worker.events().end(), std::back_inserter(all),
                 [revision](const v1::Event& event) { return event.revision() > revision; });
  }
  // Of the jobs, those alone that may have one of the first.
  std::vector<std::pair<uint64_t, const JobEntry*>> holders;
  for (const auto& [number, entry] : jobs()) {
    const JobFacts facts = entry.facts();
    dropped = std::max(dropped, facts.dropped);
    if (facts.revision > revision) holders.emplace_back(std::max(facts.first_event, revision), &entry);
  }
  std::sort(holders.begin(), holders.end());
  std::priority_queue<uint64_t> first;
  for (const auto& [from, entry] : holders) {
    if (first.size() >= most && from >= first.top()) break;
    jobs_.read(*entry, [&](const v1::JobState& job) {
      for (const v1::Event& event : job.events()) {
        if (event.revision() <= revision || (first.size() >= most && event.revision() >= first.top())) continue;
        all.push_back(event);
        first.push(event.revision());
        if (first.size() > most) first.pop();
      }
    });
  }
  std::sort(all.begin(), all.end(), [](const v1::Event& a, const v1::Event& b) { return a.revision() < b.revision(); });
  take(all);
  return revision == 0 || revision >= dropped;
}

}  // namespace galleon::server
