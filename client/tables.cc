#include "client/tables.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/job_client.h"

namespace galleon {

namespace {

int64_t now_ms() {
  return absl::ToUnixMillis(absl::Now());
}

std::string progress_text(const v1::JobRecord& job) {
  if (job.progress().step() == 0)
    return job.stage().name().empty() || is_terminal(job.state()) ? "-" : job.stage().name();
  return absl::StrFormat("%d/%d", job.progress().step(), job.progress().total_steps());
}

std::string loss_text(const v1::JobRecord& job) {
  return job.progress().step() == 0 ? "-" : absl::StrFormat("%.4f", job.progress().loss());
}

std::string count_or_dash(uint32_t count) {
  return count == 0 ? "-" : absl::StrCat(count);
}

std::vector<std::string> job_row(const v1::JobRecord& job) {
  return {job.job_id(),
          v1::JobRecord::State_Name(job.state()),
          job.queue(),
          progress_text(job),
          loss_text(job),
          absl::StrCat(job.attempts()),
          human_age(job.create_time_ms(), now_ms()),
          job.message()};
}

// What the given jobs of a group are together.
v1::Group summed(const std::string& group_id, const std::vector<v1::JobRecord>& jobs) {
  v1::Group group;
  group.set_group_id(group_id);
  std::map<v1::JobRecord::State, uint32_t> counts;
  for (const v1::JobRecord& job : jobs) {
    if (job.group() != group_id) continue;
    ++counts[job.state()];
    group.set_stopped(group.stopped() + (job.stopped_at_rung() > 0));
    if (group.create_time_ms() == 0) group.set_create_time_ms(job.create_time_ms());
  }
  for (const auto& [state, count] : counts) {
    group.add_states()->set_state(state);
    group.mutable_states(group.states_size() - 1)->set_jobs(count);
  }
  return group;
}

std::vector<std::string> group_row(const v1::Group& group, const v1::JobRecord& newest) {
  std::string message = group.message();
  if (!group.best_job_id().empty())
    message = absl::StrCat("best: ", group.best_job_id(), message.empty() ? "" : "; ", message);
  return {group.group_id(),
          states_text(group),
          newest.queue(),
          "-",
          group.best_job_id().empty() ? "-" : absl::StrFormat("%.4f", group.best_loss()),
          "-",
          human_age(group.create_time_ms(), now_ms()),
          message};
}

constexpr const char* kJobColumns[] = {"JOB", "STATE", "QUEUE", "STEP", "LOSS", "ATTEMPTS", "AGE", "MESSAGE"};

}  // namespace

void print_message(const google::protobuf::Message& message, OutputFormat format) {
  std::cout << (format == OutputFormat::kJson ? to_json(message) : to_yaml(to_json(message)));
}

std::string job_table(const std::vector<v1::JobRecord>& jobs) {
  std::vector<std::vector<std::string>> rows;
  rows.reserve(jobs.size());
  for (const v1::JobRecord& job : jobs) {
    rows.push_back(job_row(job));
  }
  return table({std::begin(kJobColumns), std::end(kJobColumns)}, rows);
}

std::string states_text(const v1::Group& group) {
  std::vector<std::string> parts;
  for (const v1::Group::StateCount& count : group.states()) {
    const std::string state = absl::AsciiStrToLower(v1::JobRecord::State_Name(count.state()));
    const bool halved = count.state() == v1::JobRecord::CANCELLED && group.stopped() > 0;
    parts.push_back(
        absl::StrCat(count.jobs(), " ", state, halved ? absl::StrCat(" (", group.stopped(), " as worst)") : ""));
  }
  return absl::StrJoin(parts, ", ");
}

std::string folded_job_table(const std::vector<v1::JobRecord>& jobs, const std::vector<v1::Group>& groups) {
  std::vector<std::vector<std::string>> rows;
  std::set<std::string> shown;
  for (const v1::JobRecord& job : jobs) {
    if (job.group().empty()) {
      rows.push_back(job_row(job));
    } else if (shown.insert(job.group()).second) {
      const auto known = std::find_if(groups.begin(), groups.end(),
                                      [&job](const v1::Group& group) { return group.group_id() == job.group(); });
      rows.push_back(group_row(known == groups.end() ? summed(job.group(), jobs) : *known, job));
    }
  }
  return table({std::begin(kJobColumns), std::end(kJobColumns)}, rows);
}

std::string labels_text(const v1::Job& job) {
  const std::map<std::string, std::string> sorted(job.labels().begin(), job.labels().end());
  return absl::StrJoin(sorted, ", ", absl::PairFormatter("="));
}

std::string wide_job_table(const std::vector<v1::JobRecord>& jobs) {
  std::vector<std::vector<std::string>> rows;
  rows.reserve(jobs.size());
  for (const v1::JobRecord& job : jobs) {
    const int64_t end = job.end_time_ms() > 0 ? job.end_time_ms() : now_ms();
    const std::string labels = labels_text(job.job());
    rows.push_back({job.job_id(), absl::StrCat(v1::JobRecord::State_Name(job.state()), job.held() ? ", held" : ""),
                    job.queue(), job.project().empty() ? "-" : job.project(), job.owner().empty() ? "-" : job.owner(),
                    absl::StrCat(job.priority()), absl::StrCat(std::max<uint32_t>(1, job.job().parallel().ranks())),
                    progress_text(job), loss_text(job), absl::StrCat(job.attempts()),
                    human_age(job.create_time_ms(), now_ms()), human_age(job.start_time_ms(), end),
                    labels.empty() ? "-" : labels, job.job().note().empty() ? "-" : job.job().note(), job.message()});
  }
  return table({"JOB", "STATE", "QUEUE", "PROJECT", "OWNER", "PRIORITY", "RANKS", "STEP", "LOSS", "ATTEMPTS", "AGE",
                "SINCE START", "LABELS", "NOTE", "MESSAGE"},
               rows);
}

std::string worker_table(const std::vector<v1::Worker>& workers) {
  std::vector<std::vector<std::string>> rows;
  rows.reserve(workers.size());
  for (const v1::Worker& worker : workers) {
    double memory = 0;
    for (const v1::DeviceInfo& device : worker.devices()) memory += static_cast<double>(device.free_memory_bytes());
    rows.push_back({worker.worker_id(), v1::Worker::State_Name(worker.state()),
                    absl::StrCat(worker.slots_used(), "/", worker.slots()),
                    worker.devices_size() > 0 ? worker.devices(0).kind() : "-", human_bytes(memory), worker.version(),
                    absl::StrCat(human_age(worker.last_seen_time_ms(), now_ms()), " ago"), worker.message()});
  }
  return table({"WORKER", "STATE", "SLOTS", "DEVICE", "FREE MEMORY", "VERSION", "SEEN", "MESSAGE"}, rows);
}

namespace {

// How long a queue keeps what has ended.
std::string kept_text(const v1::Queue& queue) {
  if (queue.retention_seconds() == 0) return "-";  // a scheduler of before
  const uint64_t seconds = queue.retention_seconds();
  std::string text =
      seconds % 86'400 == 0 ? absl::StrCat(seconds / 86'400, " d") : absl::FormatDuration(absl::Seconds(seconds));
  if (queue.retention_jobs() > 0) absl::StrAppend(&text, ", newest ", queue.retention_jobs());
  if (queue.retention_folders() == v1::Queue::CHECKPOINTS) absl::StrAppend(&text, ", then checkpoints alone");
  if (queue.retention_folders() == v1::Queue::DELETE) absl::StrAppend(&text, ", then nothing");
  return text;
}

// "3 / 8" where there is a limit.
std::string used_of(uint64_t used, uint64_t limit) {
  return limit == 0 ? absl::StrCat(used) : absl::StrCat(used, " / ", limit);
}

}  // namespace

std::string queue_table(const std::vector<v1::Queue>& queues) {
  std::vector<std::vector<std::string>> rows;
  rows.reserve(queues.size());
  for (const v1::Queue& queue : queues) {
    rows.push_back({queue.queue_id(), absl::StrCat(queue.queued()), absl::StrCat(queue.active()),
                    absl::StrCat(queue.slots_used()), absl::StrFormat("%.1f", queue.fair_share_slots()),
                    absl::StrFormat("%g", queue.weight()), count_or_dash(queue.guaranteed_slots()),
                    count_or_dash(queue.limit_slots()), absl::StrCat(queue.ended()), kept_text(queue),
                    queue.configured() ? "" : "not configured any more"});
  }
  return table({"QUEUE", "QUEUED", "ACTIVE", "SLOTS", "FAIR SHARE", "WEIGHT", "GUARANTEED", "LIMIT", "ENDED",
                "KEPT FOR", "MESSAGE"},
               rows);
}

std::string queue_users_table(const std::vector<v1::Queue>& queues) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Queue& queue : queues) {
    for (const v1::QueueUser& user : queue.users()) {
      if (user.user().empty()) continue;
      const bool turns = queue.half_life_seconds() > 0;
      rows.push_back({queue.queue_id(), user.user(), used_of(user.queued(), queue.user_limit_queued()),
                      used_of(user.slots_used(), queue.user_limit_slots()),
                      turns ? absl::StrFormat("%.1f", user.recent_slots()) : "-",
                      turns ? absl::StrFormat("%g", user.weight()) : "-"});
    }
  }
  return rows.empty() ? "" : table({"QUEUE", "USER", "QUEUED", "SLOTS", "LATELY", "WEIGHT"}, rows);
}

std::string project_table(const std::vector<v1::Project>& projects) {
  std::vector<std::vector<std::string>> rows;
  const auto bytes_of = [](uint64_t bytes, uint64_t limit) {
    return limit == 0
               ? human_bytes(static_cast<double>(bytes))
               : absl::StrCat(human_bytes(static_cast<double>(bytes)), " / ", human_bytes(static_cast<double>(limit)));
  };
  const auto add = [&](const v1::Project& project, const v1::QuotaUse& use, const v1::QuotaLimits& limits) {
    rows.push_back({project.project_id(), use.user().empty() ? "-" : use.user(), used_of(use.queued(), limits.queued()),
                    limits.submits_per_minute() == 0 ? "-" : absl::StrCat(limits.submits_per_minute()),
                    bytes_of(use.log_bytes(), limits.log_bytes()),
                    bytes_of(use.folder_bytes(), limits.folder_bytes())});
  };
  for (const v1::Project& project : projects) {
    add(project, project.use(), project.limits());
    for (const v1::QuotaUse& user : project.users())
      if (!user.user().empty()) add(project, user, project.user_limits());
  }
  return table({"PROJECT", "USER", "QUEUED", "SUBMITS/MIN", "LOGS", "FOLDERS"}, rows);
}

}  // namespace galleon
