#include "server/notify/notification.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/core/transitions.h"

namespace galleon::server {

namespace {

using Json = nlohmann::ordered_json;

// The kind of a change; empty: it is none that anybody is told of.
std::string kind_of(const v1::Event& event) {
  const bool job = absl::StartsWith(event.subject(), "jobs/");
  if (job && event.kind() == "waits_long") return kJobWaits;
  const std::string kind = absl::StrCat(job ? "job." : "worker.", event.kind());
  for (const char* known : kNotificationKinds) {
    if (kind == known) return kind;
  }
  return "";
}

Json describe(const v1::JobRecord& job) {
  Json described = {{"job_id", job.job_id()},   {"name", job.job().name()}, {"queue", job.queue()},
                    {"project", job.project()}, {"owner", job.owner()},     {"attempts", job.attempts()}};
  if (job.has_checkpoint()) described["checkpoint_step"] = job.checkpoint().step();
  return described;
}

Notification made(const std::string& kind, const v1::Event& event, const std::string& text, Json data,
                  const ReceiverConfig& receiver, uint64_t number) {
  Notification notification;
  notification.id = absl::StrCat("galleon-", event.revision(), "-", event.time_ms());
  notification.revision = event.revision();
  notification.number = number;
  notification.time_ms = event.time_ms();
  data["receiver"] = receiver.name;
  data["number"] = number;
  data["revision"] = event.revision();
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(event.time_ms()), absl::UTCTimeZone());
  const Json body = {{"type", kind}, {"timestamp", time}, {"text", text}, {"data", std::move(data)}};
  // What comes from jobs need not be UTF-8.
  notification.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return notification;
}

}  // namespace

std::optional<Notification> notification_of(const v1::Event& event, const State& state, const ReceiverConfig& receiver,
                                            uint64_t number) {
  const std::string kind = kind_of(event);
  if (kind.empty() || !receiver.kinds.contains(kind)) return std::nullopt;
  Json data = {{"subject", event.subject()}, {"message", event.message()}, {"actor", event.actor()}};
  std::string whose;
  if (absl::StartsWith(event.subject(), "jobs/")) {
    const v1::JobState* job = state.job(absl::string_view(event.subject()).substr(5));
    const std::string queue = job == nullptr ? "" : job->record().queue();
    const std::string owner = job == nullptr ? "" : job->record().owner();
    if (!receiver.queues.empty() && !receiver.queues.contains(queue)) return std::nullopt;
    if (!receiver.owners.empty() && !receiver.owners.contains(owner)) return std::nullopt;
    if (job != nullptr) data["job"] = describe(job->record());
    if (!owner.empty()) whose = absl::StrCat(" of ", owner);
    if (!queue.empty()) absl::StrAppend(&whose, " in queue ", queue);
  } else if (!receiver.owners.empty() || !receiver.queues.empty()) {
    // Workers are nobody's, and of no queue.
    return std::nullopt;
  }
  const std::string what = event.kind() == "waits_long" ? "waits for long" : event.kind();
  const std::string text =
      absl::StrCat(event.subject(), whose, ": ", what, event.message().empty() ? "" : ": ", event.message(),
                   event.actor().empty() ? "" : absl::StrCat(" (", event.actor(), ")"));
  return made(kind, event, text, std::move(data), receiver, number);
}

Notification lost_after(uint64_t revision, uint64_t until, int64_t time_ms, const ReceiverConfig& receiver,
                        uint64_t number) {
  v1::Event event;
  event.set_revision(until);
  event.set_time_ms(time_ms);
  const std::string text =
      "some of what happened is no longer kept, and can be told no more: galleon list has what there is";
  return made(kEventsLost, event, text, {{"after_revision", revision}}, receiver, number);
}

}  // namespace galleon::server
