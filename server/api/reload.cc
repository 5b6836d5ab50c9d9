#include "server/api/reload.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/duration_text.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "server/api/queue_file.h"
#include "server/core/demand.h"

namespace galleon::server {

namespace {

constexpr int kMostWaiting = 16;

absl::StatusOr<ReadFiles> read_files(const Reload::Options& options) {
  ReadFiles files;
  if (!options.queues.empty()) {
    ASSIGN_OR_RETURN(files.queues, load_queues(options.queues));
    files.names.push_back(options.queues);
  }
  if (!options.access.empty()) {
    ASSIGN_OR_RETURN(files.access, Access::load(options.access));
    files.names.push_back(options.access);
  }
  if (!options.notify.empty()) {
    ASSIGN_OR_RETURN(files.notify, load_notify(options.notify));
    files.names.push_back(options.notify);
  }
  if (options.certificates) RETURN_IF_ERROR(options.certificates());
  if (files.names.empty() && !options.certificates) {
    return absl::FailedPreconditionError(
        "there is nothing to read again: the scheduler was started without --queues, --access, --notify and --tls");
  }
  return files;
}

std::string slots_text(uint32_t slots) {
  return slots == 0 ? "none" : absl::StrCat(slots);
}

// "research: weight 2, was 1"; empty if they are the same.
std::string difference(const QueueConfig& before, const QueueConfig& now) {
  std::vector<std::string> parts;
  if (before.weight != now.weight) parts.push_back(absl::StrCat("weight ", now.weight, ", was ", before.weight));
  if (before.guaranteed != now.guaranteed)
    parts.push_back(absl::StrCat("guaranteed_slots ", now.guaranteed, ", was ", before.guaranteed));
  if (before.limit != now.limit)
    parts.push_back(absl::StrCat("limit_slots ", slots_text(now.limit), ", was ", slots_text(before.limit)));
  if (before.project != now.project)
    parts.push_back(
        absl::StrCat("project ", now.project, ", was ", before.project, " (jobs that are there stay in it)"));
  if (before.half_life_ms != now.half_life_ms) {
    const auto told = [](int64_t ms) {
      return ms == 0 ? std::string("off") : absl::StrCat("with half-life ", duration_text(absl::Milliseconds(ms)));
    };
    parts.push_back(absl::StrCat("fair_share ", told(now.half_life_ms), ", was ", told(before.half_life_ms)));
  }
  if (before.user_limit_slots != now.user_limit_slots)
    parts.push_back(absl::StrCat("users.limit_slots ", slots_text(now.user_limit_slots), ", was ",
                                 slots_text(before.user_limit_slots)));
  if (before.user_limit_queued != now.user_limit_queued)
    parts.push_back(absl::StrCat("users.limit_queued ", slots_text(now.user_limit_queued), ", was ",
                                 slots_text(before.user_limit_queued)));
  if (before.user_weights != now.user_weights) parts.push_back("user_weights");
  return absl::StrJoin(parts, "; ");
}

std::string difference(const QuotaLimits& before, const QuotaLimits& now, absl::string_view prefix) {
  std::vector<std::string> parts;
  const auto number = [](uint64_t value) { return absl::StrCat(value); };
  const auto compare = [&](absl::string_view key, uint64_t was, uint64_t is, const auto& text) {
    const auto told = [&text](uint64_t value) { return value == 0 ? std::string("none") : text(value); };
    if (was != is) parts.push_back(absl::StrCat(prefix, key, " ", told(is), ", was ", told(was)));
  };
  compare("limit_queued", before.queued, now.queued, number);
  compare("limit_submits_per_minute", before.submits_per_minute, now.submits_per_minute, number);
  compare("limit_logs", before.log_bytes, now.log_bytes, bytes_text);
  compare("limit_folders", before.folder_bytes, now.folder_bytes, bytes_text);
  return absl::StrJoin(parts, "; ");
}

std::string difference(const ProjectQuota& before, const ProjectQuota& now) {
  std::vector<std::string> parts = {difference(before.all, now.all, ""),
                                    difference(before.each_user, now.each_user, "users.")};
  std::erase(parts, "");
  return absl::StrJoin(parts, "; ");
}

// No secret, not even as a hash.
std::string difference(const Caller& before, const Caller& now) {
  std::vector<std::string> parts;
  if (before.certificate != now.certificate) parts.push_back("certificate");
  if (before.token_sha256 != now.token_sha256) parts.push_back("token_sha256");
  if (before.roles != now.roles) parts.push_back("roles");
  if (before.workers != now.workers) parts.push_back("workers");
  if (before.labels != now.labels) parts.push_back("labels");
  return absl::StrJoin(parts, ", ");
}

std::string difference(const ReceiverConfig& before, const ReceiverConfig& now) {
  std::vector<std::string> parts;
  if (before.url != now.url) parts.push_back("url");
  if (before.secret != now.secret) parts.push_back("secret_file");
  if (before.ca_file != now.ca_file) parts.push_back("ca_file");
  if (before.kinds != now.kinds) parts.push_back("kinds");
  if (before.queues != now.queues) parts.push_back("queues");
  if (before.owners != now.owners) parts.push_back("owners");
  if (before.timeout != now.timeout) parts.push_back("timeout");
  return absl::StrJoin(parts, ", ");
}

template <typename Map>
v1::ConfigChanges changes_of(const Map& before, const Map& now) {
  v1::ConfigChanges found;
  for (const auto& [name, value] : now) {
    const auto it = before.find(name);
    if (it == before.end()) {
      found.add_added(name);
    } else if (const std::string text = difference(it->second, value); !text.empty()) {
      found.add_changed(absl::StrCat(name, ": ", text));
    }
  }
  for (const auto& [name, value] : before) {
    if (!now.contains(name)) found.add_removed(name);
  }
  return found;
}

std::map<std::string, QueueConfig> by_name(const std::vector<QueueConfig>& queues) {
  std::map<std::string, QueueConfig> named;
  for (const QueueConfig& queue : queues) named.emplace(queue.id, queue);
  return named;
}

std::map<std::string, ProjectQuota> by_name(const std::vector<ProjectQuota>& projects) {
  std::map<std::string, ProjectQuota> named;
  for (const ProjectQuota& quota : projects) named.emplace(quota.project, quota);
  return named;
}

std::map<std::string, ReceiverConfig> by_name(const std::vector<ReceiverConfig>& receivers) {
  std::map<std::string, ReceiverConfig> named;
  for (const ReceiverConfig& receiver : receivers) named.emplace(receiver.name, receiver);
  return named;
}

std::string text_of(const char* what, const v1::ConfigChanges& changes) {
  std::vector<std::string> parts;
  for (const auto& [word, names] : {std::pair("added ", &changes.added()), std::pair("removed ", &changes.removed()),
                                    std::pair("changed ", &changes.changed())}) {
    if (!names->empty()) parts.push_back(absl::StrCat(word, absl::StrJoin(*names, ", ")));
  }
  return parts.empty() ? "" : absl::StrCat(what, ": ", absl::StrJoin(parts, "; "));
}

}  // namespace

v1::ConfigChanges changes(const std::vector<QueueConfig>& before, const std::vector<QueueConfig>& now) {
  return changes_of(by_name(before), by_name(now));
}

v1::ConfigChanges changes(const std::vector<ProjectQuota>& before, const std::vector<ProjectQuota>& now) {
  return changes_of(by_name(before), by_name(now));
}

v1::ConfigChanges changes(const Access& before, const Access& now) {
  return changes_of(before.principals(), now.principals());
}

v1::ConfigChanges changes(const NotifyConfig& before, const NotifyConfig& now) {
  v1::ConfigChanges found = changes_of(by_name(before.receivers), by_name(now.receivers));
  if (before.waiting != now.waiting) {
    found.add_changed(absl::StrCat("waiting: ", duration_text(now.waiting), ", was ", duration_text(before.waiting)));
  }
  return found;
}

std::string summary(const v1::ReloadResponse& response) {
  std::vector<std::string> parts = {text_of("queues", response.queues()), text_of("projects", response.projects()),
                                    text_of("principals", response.principals()),
                                    text_of("receivers", response.receivers())};
  std::erase(parts, "");
  return parts.empty() ? "nothing has changed" : absl::StrJoin(parts, "; ");
}

void tell_reload(const absl::StatusOr<v1::ReloadResponse>& response) {
  if (!response.ok()) {
    return log_error("nothing is read again, all stays as it was: ",
                     absl::string_view(response.status().message().data(), response.status().message().size()));
  }
  log_info("read ", response->files().empty() ? "the certificate" : absl::StrJoin(response->files(), " and "),
           " again: ", summary(*response));
}

void Reload::start(bool validate_only, Done done) {
  if (waiting_.fetch_add(1) >= kMostWaiting) {
    --waiting_;
    return done(absl::ResourceExhaustedError(
        absl::StrCat(kMostWaiting, " reloads wait already; call again when the files can be read")));
  }
  thread_.post([this, validate_only, done = std::move(done)] {
    --waiting_;
    read(validate_only, [this, validate_only, done](const absl::StatusOr<v1::ReloadResponse>& response) {
      if (!validate_only) options_.metrics->reloaded(response.ok());
      done(response);
    });
  });
}

void Reload::read(bool validate_only, const Done& done) {
  absl::StatusOr<ReadFiles> files = read_files(options_);
  if (!files.ok()) return done(files.status());
  const absl::Status posted =
      options_.loop->post(Lane::kChanges, "", [this, validate_only, done, files = *std::move(files)](Turn& turn) {
        const absl::StatusOr<v1::ReloadResponse> response = take(turn, validate_only, files);
        turn.after_commit.push_back([done, response] { done(response); });
      });
  if (!posted.ok()) done(posted);
}

absl::StatusOr<v1::ReloadResponse> Reload::take(Turn& turn, bool validate_only, const ReadFiles& files) {
  const std::vector<QueueConfig>& queues = files.queues ? files.queues->queues : turn.scheduler.options().queues;
  if (files.notify) {
    std::set<std::string> names;
    for (const QueueConfig& queue : queues) names.insert(queue.id);
    const absl::Status known = check_queues(*files.notify, names);
    if (!known.ok()) return absl::Status(known.code(), absl::StrCat(options_.notify, ": ", known.message()));
  }
  v1::ReloadResponse response;
  response.mutable_files()->Assign(files.names.begin(), files.names.end());
  if (files.queues) {
    *response.mutable_queues() = changes(turn.scheduler.options().queues, files.queues->queues);
    *response.mutable_projects() = changes(turn.scheduler.options().projects, files.queues->projects);
  }
  if (files.access) *response.mutable_principals() = changes(*options_.in_force->get(), *files.access);
  if (files.notify) *response.mutable_receivers() = changes(options_.notifier->config(), *files.notify);
  if (validate_only) return response;
  if (files.queues) turn.scheduler.reconfigure(turn.now, files.queues->queues, files.queues->projects);
  if (files.access) {
    options_.in_force->replace(*files.access);
    options_.rates->forget();
  }
  if (files.notify) {
    turn.scheduler.set_long_wait(absl::ToInt64Milliseconds(files.notify->waiting));
    // Threads that end take a moment, which this round has not.
    auto gone = std::make_shared<std::vector<std::unique_ptr<Receiver>>>(options_.notifier->replace(*files.notify));
    thread_.post([gone] { gone->clear(); });
  }
  return response;
}

}  // namespace galleon::server
