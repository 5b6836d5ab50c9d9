#include "server/api/watches.h"

#include "absl/strings/str_cat.h"
#include "server/core/refusal.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

constexpr int64_t kWatchIntervalMs = 200;
constexpr int64_t kRevisionIntervalMs = 1'000;
constexpr int64_t kLogPollMs = 100;
constexpr size_t kLogPiece = 256 << 10;
// How long the end of a log is waited for after its attempt has ended, for daemons that never say that it is complete.
constexpr int64_t kLogTailMs = 5'000;

constexpr size_t kMostEvents = 500;  // in one message
constexpr int kMostLooks = 100;      // at watched jobs in one round, so that none is long

// Feeds those whose turn it is until `enough`; the next round begins with who comes next. `feed`: is it finished?
template <typename Reader, typename Feed, typename Enough>
void feed_in_turns(std::list<Reader>& readers, const Feed& feed, const Enough& enough) {
  for (size_t left = readers.size(); left > 0 && !enough(); --left) {
    if (feed(readers.front())) {
      readers.pop_front();
    } else {
      readers.splice(readers.end(), readers, readers.begin());
    }
  }
}

absl::Status no_longer_kept(uint64_t revision) {
  return refusal(v1::ErrorInfo::REVISION_TOO_OLD,
                 absl::StrCat("some events after revision ", revision,
                              " are no longer kept; list what there is, and watch from its revision"));
}

absl::Status shutting_down() {
  return absl::UnavailableError("the scheduler shuts down; call again soon");
}

}  // namespace

bool Watches::add(WatchStream* stream, const Scheduler& scheduler, std::string job_id, uint64_t after_revision,
                  Viewer viewer) {
  if (watches_.size() >= kMostStreams) return false;
  const uint64_t revision = after_revision == 0 ? scheduler.state().revision() : after_revision;
  watches_.push_back({stream, std::move(job_id), std::move(viewer), {}, revision, 0, false});
  return true;
}

void Watches::feed(const Scheduler& scheduler, Now now) {
  looked_at_ = 0;
  feed_in_turns(
      watches_, [&](Watch& watch) { return feed_one(watch, scheduler, now); },
      [this] { return looked_at_ >= kMostLooks; });
}

bool Watches::feed_one(Watch& watch, const Scheduler& scheduler, Now now) {
  if (watch.stream->writing()) return false;
  if (watch.stream->cancelled()) {
    watch.stream->finish(absl::CancelledError("the caller went away"));
    return true;
  }
  if (watch.ended) {
    watch.stream->finish(absl::OkStatus());
    return true;
  }
  if (stopping_) {
    watch.stream->finish(shutting_down());
    return true;
  }
  if (now.mono_ms < watch.next_ms) return false;
  watch.next_ms = now.mono_ms + kWatchIntervalMs;
  ++looked_at_;
  const v1::JobState* job = scheduler.state().job(watch.job_id);
  if (job == nullptr) {
    watch.stream->finish(refusal(v1::ErrorInfo::JOB_NOT_FOUND, "the job has left the list"));
    return true;
  }
  if (const absl::Status allowed = watch.viewer.may_see(job->record().project()); !allowed.ok()) {
    watch.stream->finish(allowed);
    return true;
  }
  v1::WatchJobResponse response;
  *response.mutable_job() = scheduler.describe(*job, now);
  std::vector<v1::Event> events;
  if (!scheduler.state().events_after(watch.revision, job->record().name(), kMostEvents, events)) {
    watch.stream->finish(no_longer_kept(watch.revision));
    return true;
  }
  for (v1::Event& event : events) {
    watch.revision = event.revision();
    *response.add_events() = std::move(event);
  }
  std::string bytes = response.job().SerializeAsString();
  if (bytes == watch.last && response.events().empty()) return false;
  watch.last = std::move(bytes);
  watch.ended = is_terminal(response.job().state());
  watch.stream->write(std::move(response));
  return false;
}

bool EventStreams::add(EventStream* stream, const v1::WatchEventsRequest& request, Viewer viewer) {
  if (readers_.size() >= kMostStreams) return false;
  readers_.push_back({stream, request.subject(), std::move(viewer), request.follow(), request.revision_only(),
                      request.after_revision(), 0});
  return true;
}

void EventStreams::feed(const Scheduler& scheduler, Now now) {
  searches_ = 0;
  feed_in_turns(
      readers_, [&](Reader& reader) { return feed_one(reader, scheduler, now); }, [this] { return searches_ > 0; });
}

bool EventStreams::feed_one(Reader& reader, const Scheduler& scheduler, Now now) {
  if (reader.stream->writing()) return false;
  const auto finish = [&reader](const absl::Status& status) {
    reader.stream->finish(status);
    return true;
  };
  if (reader.stream->cancelled()) return finish(absl::CancelledError("the caller went away"));
  if (stopping_) return finish(shutting_down());
  if (now.mono_ms < reader.next_ms) return false;
  const State& state = scheduler.state();
  const v1::JobState* job = state.job(job_id_of(reader.subject));
  if (const absl::Status allowed = reader.viewer.may_see(job == nullptr ? "*" : job->record().project()); !allowed.ok())
    return finish(allowed);
  if (reader.revision >= state.revision()) return reader.follow ? false : finish(absl::OkStatus());
  if (reader.revision_only) {
    reader.revision = state.revision();
    reader.next_ms = now.mono_ms + kRevisionIntervalMs;
    v1::WatchEventsResponse changed;
    changed.set_revision(reader.revision);
    reader.stream->write(std::move(changed));
    return false;
  }
  if (reader.subject.empty() && !state.has_recent(reader.revision)) ++searches_;
  std::vector<v1::Event> events;
  if (!state.events_after(reader.revision, reader.subject, kMostEvents, events))
    return finish(no_longer_kept(reader.revision));
  // Fewer than asked for: there are no more.
  reader.revision = events.size() < kMostEvents ? state.revision() : events.back().revision();
  if (events.empty()) return reader.follow ? false : finish(absl::OkStatus());
  reader.next_ms = now.mono_ms + (events.size() < kMostEvents ? kWatchIntervalMs : 0);
  v1::WatchEventsResponse response;
  for (v1::Event& event : events) *response.add_events() = std::move(event);
  response.set_revision(reader.revision);
  reader.stream->write(std::move(response));
  return false;
}

bool LogStreams::add(LogStream* stream, const v1::JobState& job, const v1::ReadLogsRequest& request, Viewer viewer) {
  if (readers_.size() >= kMostStreams) return false;
  Reader reader{stream, std::move(viewer), {}, request.attempt() == 0, request.follow(), request.offset(), 0, -1};
  reader.key.job_id = job.record().job_id();
  reader.key.attempt = request.attempt() != 0 ? request.attempt() : job.record().attempts();
  reader.key.rank = request.rank();
  if (request.tail_lines() > 0) {
    // A log that cannot be read is told of when it is.
    if (const absl::StatusOr<uint64_t> from = files_->tail(reader.key, request.tail_lines()); from.ok())
      reader.offset = *from;
  }
  readers_.push_back(std::move(reader));
  return true;
}

void LogStreams::feed(const Scheduler& scheduler, Now now) {
  readers_.remove_if([&](Reader& reader) { return feed_one(reader, scheduler, now); });
}

bool LogStreams::feed_one(Reader& reader, const Scheduler& scheduler, Now now) {
  if (reader.stream->writing()) return false;
  const auto finish = [&reader](const absl::Status& status) {
    reader.stream->finish(status);
    return true;
  };
  if (reader.stream->cancelled()) return finish(absl::CancelledError("the caller went away"));
  if (stopping_) return finish(shutting_down());
  if (now.mono_ms < reader.next_ms) return false;
  const v1::JobState* known = scheduler.state().job(reader.key.job_id);
  if (known == nullptr) return finish(absl::NotFoundError("the job has left the list"));
  const v1::JobState& job = *known;
  if (const absl::Status allowed = reader.viewer.may_see(job.record().project()); !allowed.ok()) return finish(allowed);
  const bool job_over = is_terminal(job.record().state());
  if (reader.key.attempt == 0) {
    if (job.record().attempts() == 0) {
      if (job_over || !reader.follow) return finish(absl::OkStatus());
      reader.next_ms = now.mono_ms + kLogPollMs;
      return false;
    }
    reader.key.attempt = 1;
  }
  absl::StatusOr<std::string> piece = files_->read(reader.key, reader.offset, kLogPiece);
  if (!piece.ok()) return finish(piece.status());
  if (!piece->empty()) {
    v1::ReadLogsResponse response;
    response.set_attempt(reader.key.attempt);
    response.set_offset(reader.offset);
    reader.offset += piece->size();
    response.set_data(std::move(*piece));
    reader.stream->write(std::move(response));
    return false;
  }
  const v1::AttemptState& attempt = job.attempts(static_cast<int>(reader.key.attempt) - 1);
  const bool over = attempt.attempt().outcome() != v1::Attempt::RUNNING;
  if (over && reader.ended_ms < 0) reader.ended_ms = now.mono_ms;
  const bool complete = over && (files_->complete(reader.key) || now.mono_ms - reader.ended_ms > kLogTailMs);
  if ((complete || !reader.follow) && over) {
    if (const uint64_t size = files_->size(reader.key); reader.offset > size) {
      return finish(
          absl::OutOfRangeError(absl::StrCat("offset ", reader.offset, " is beyond the end of the log at ", size)));
    }
  }
  if (!reader.follow) return finish(absl::OkStatus());
  if (complete) {
    if (reader.newest && job.record().attempts() > reader.key.attempt) {
      ++reader.key.attempt;
      reader.offset = 0;
      reader.ended_ms = -1;
      return false;
    }
    if (!reader.newest || job_over) return finish(absl::OkStatus());
  }
  reader.next_ms = now.mono_ms + kLogPollMs;
  return false;
}

}  // namespace galleon::server
