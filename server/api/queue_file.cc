#include "server/api/queue_file.h"

#include <yaml-cpp/yaml.h>

#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/duration_text.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/keys.h"
#include "server/api/quota_file.h"

namespace galleon::server {

namespace {

constexpr int64_t kHalfLifeMs = 24 * 3'600'000;

class Reader {
 public:
  explicit Reader(absl::string_view file) : file_(file) {}

  absl::StatusOr<QueueFile> read(const YAML::Node& root) {
    if (!root.IsMap() || !root["queues"] || !root["queues"].IsMap() || root["queues"].size() == 0)
      return wrong(root, "a mapping \"queues\" of queue names is expected, such as queues: {default: {weight: 1}}");
    QueueFile read;
    for (const auto& part : root) {
      const std::string key = part.first.IsScalar() ? part.first.Scalar() : "";
      if (key == "retention") {
        RETURN_IF_ERROR(read_retention(part.second, "retention", for_all_));
      } else if (key != "queues" && key != "projects") {
        return wrong(part.first, absl::StrCat("there is no key \"", key, "\"; there are queues, projects, retention"));
      }
    }
    std::set<std::string> seen;
    for (const auto& entry : root["queues"]) {
      ASSIGN_OR_RETURN(QueueConfig queue, read_queue(entry.first, entry.second));
      if (!seen.insert(queue.id).second) return wrong(entry.first, absl::StrCat(queue.id, " is there twice"));
      read.queues.push_back(std::move(queue));
    }
    if (root["projects"]) {
      ASSIGN_OR_RETURN(read.projects, read_projects(file_, root["projects"]));
    }
    return read;
  }

 private:
  absl::Status wrong(const YAML::Node& at, absl::string_view what) const { return wrong_in_file(file_, at, what); }

  absl::StatusOr<QueueConfig> read_queue(const YAML::Node& name, const YAML::Node& fields) const {
    QueueConfig queue;
    queue.retention = for_all_;
    queue.id = name.IsScalar() ? name.Scalar() : "";
    if (!is_queue_name(queue.id))
      return wrong(name, absl::StrCat("\"", queue.id, "\" is not a name; 1 to 48 lower-case letters, digits and '-'"));
    if (fields.IsNull()) return queue;
    if (!fields.IsMap()) return wrong(fields, absl::StrCat("queues.", queue.id, ": a mapping is expected"));
    if (fields["fair_share"]) {
      const std::string text = fields["fair_share"].IsScalar() ? fields["fair_share"].Scalar() : "";
      if (text != "true" && text != "false") {
        return wrong(fields["fair_share"],
                     absl::StrCat("queues.", queue.id, ".fair_share: \"", text, "\" is not true or false"));
      }
      if (text == "true") queue.half_life_ms = kHalfLifeMs;
    }
    for (const auto& field : fields) {
      RETURN_IF_ERROR(read_field(field.first, field.second, queue));
    }
    if (queue.limit != 0 && queue.guaranteed > queue.limit) {
      return wrong(fields, absl::StrCat("queues.", queue.id, ": guaranteed_slots ", queue.guaranteed,
                                        " is more than limit_slots ", queue.limit));
    }
    const bool shared = queue.half_life_ms > 0;
    for (const char* key : {"half_life", "user_weights"}) {
      if (fields[key] && !shared)
        return wrong(fields[key], absl::StrCat("queues.", queue.id, ".", key, ": needs fair_share: true"));
    }
    return queue;
  }

  // What is not said stays as it is.
  absl::Status read_retention(const YAML::Node& fields, const std::string& path, Retention& retention) const {
    if (!fields.IsMap())
      return wrong(fields, absl::StrCat(path, ": a mapping is expected, such as {age: 7d, jobs: 1000, folders: keep}"));
    for (const auto& field : fields) {
      const std::string key = field.first.IsScalar() ? field.first.Scalar() : "";
      const std::string text = field.second.IsScalar() ? field.second.Scalar() : "";
      const auto expected = [&](absl::string_view what) {
        return wrong(field.second, absl::StrCat(path, ".", key, ": \"", text, "\" is not ", what));
      };
      if (key == "age") {
        const std::optional<absl::Duration> age = parse_duration_text(text);
        if (!age || *age < absl::Minutes(1) || *age > absl::Hours(24 * 36'500))
          return expected("a time of at least 1m, such as 12h or 30d");
        retention.age_ms = absl::ToInt64Milliseconds(*age);
      } else if (key == "jobs") {
        retention.jobs = 0;
        if (!field.second.IsNull() && (!absl::SimpleAtoi(text, &retention.jobs) || retention.jobs == 0))
          return expected("a number of jobs of at least 1, or null");
      } else if (key == "folders") {
        if (text != "keep" && text != "checkpoints" && text != "delete")
          return expected("one of keep, checkpoints (all else goes), delete");
        retention.folders = text == "keep"     ? Retention::Folders::kKeep
                            : text == "delete" ? Retention::Folders::kDelete
                                               : Retention::Folders::kCheckpoints;
      } else {
        return wrong(field.first, absl::StrCat(path, " has no key \"", key, "\"; there are age, jobs, folders"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status read_field(const YAML::Node& name, const YAML::Node& value, QueueConfig& queue) const {
    const std::string key = name.IsScalar() ? name.Scalar() : "";
    const std::string text = value.IsScalar() ? value.Scalar() : "";
    const std::string path = absl::StrCat("queues.", queue.id, ".", key, ": ");
    if (key == "weight") {
      if (!absl::SimpleAtod(text, &queue.weight) || !(queue.weight >= 0.001 && queue.weight <= 1e6))
        return wrong(value, absl::StrCat(path, "\"", text, "\" is not a number between 0.001 and 1000000"));
    } else if (key == "guaranteed_slots") {
      if (!absl::SimpleAtoi(text, &queue.guaranteed))
        return wrong(value, absl::StrCat(path, "\"", text, "\" is not a number of slots"));
    } else if (key == "limit_slots") {
      if (value.IsNull()) return absl::OkStatus();
      if (!absl::SimpleAtoi(text, &queue.limit) || queue.limit == 0)
        return wrong(value, absl::StrCat(path, "\"", text, "\" is not a number of slots of at least 1, or null"));
    } else if (key == "project") {
      if (!is_queue_name(text)) return wrong(value, absl::StrCat(path, "\"", text, "\" is not a name"));
      queue.project = text;
    } else if (key == "retention") {
      return read_retention(value, absl::StrCat("queues.", queue.id, ".retention"), queue.retention);
    } else if (key == "half_life") {
      const std::optional<absl::Duration> half_life = parse_duration_text(text);
      if (!half_life || *half_life < absl::Minutes(1) || *half_life > absl::Hours(24 * 366))
        return wrong(value, absl::StrCat(path, "\"", text, "\" is not a time between 1m and 366d, such as 24h"));
      if (queue.half_life_ms > 0) queue.half_life_ms = absl::ToInt64Milliseconds(*half_life);
    } else if (key == "users") {
      return read_users(path, value, queue);
    } else if (key == "user_weights") {
      return read_weights(path, value, queue);
    } else if (key != "fair_share") {
      return wrong(name,
                   absl::StrCat("queues.", queue.id, " has no key \"", key,
                                "\"; there are weight, guaranteed_slots, limit_slots, project, fair_share, half_life, "
                                "users, user_weights, retention"));
    }
    return absl::OkStatus();
  }

  absl::Status read_users(const std::string& path, const YAML::Node& limits, QueueConfig& queue) const {
    if (!limits.IsMap()) return wrong(limits, absl::StrCat(path, "a mapping is expected, such as {limit_slots: 8}"));
    for (const auto& limit : limits) {
      const std::string key = limit.first.IsScalar() ? limit.first.Scalar() : "";
      uint32_t* count = key == "limit_slots"    ? &queue.user_limit_slots
                        : key == "limit_queued" ? &queue.user_limit_queued
                                                : nullptr;
      if (count == nullptr)
        return wrong(limit.first,
                     absl::StrCat(path, "there is no key \"", key, "\"; there are limit_slots, limit_queued"));
      if (limit.second.IsNull()) continue;
      const std::string text = limit.second.IsScalar() ? limit.second.Scalar() : "";
      if (!absl::SimpleAtoi(text, count) || *count == 0)
        return wrong(limit.second, absl::StrCat(path, key, ": \"", text, "\" is not a number of at least 1, or null"));
    }
    return absl::OkStatus();
  }

  absl::Status read_weights(const std::string& path, const YAML::Node& weights, QueueConfig& queue) const {
    if (!weights.IsMap()) return wrong(weights, absl::StrCat(path, "a mapping is expected, such as {ann: 2}"));
    for (const auto& weight : weights) {
      const std::string user = weight.first.IsScalar() ? weight.first.Scalar() : "";
      const std::string text = weight.second.IsScalar() ? weight.second.Scalar() : "";
      double value = 0;
      if (!absl::SimpleAtod(text, &value) || !(value >= 0.001 && value <= 1e6)) {
        return wrong(weight.second,
                     absl::StrCat(path, user, ": \"", text, "\" is not a number between 0.001 and 1000000"));
      }
      if (!queue.user_weights.emplace(user, value).second)
        return wrong(weight.first, absl::StrCat(path, user, " is there twice"));
    }
    return absl::OkStatus();
  }

  const absl::string_view file_;
  Retention for_all_;
};

}  // namespace

absl::StatusOr<QueueFile> parse_queues(const std::string& yaml, absl::string_view file) {
  try {
    return Reader(file).read(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.mark.line + 1, ": ", error.msg));
  }
}

absl::StatusOr<QueueFile> load_queues(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  return parse_queues(text, path);
}

}  // namespace galleon::server
