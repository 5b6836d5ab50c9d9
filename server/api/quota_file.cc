#include "server/api/quota_file.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/keys.h"

namespace galleon::server {

namespace {

constexpr absl::string_view kKeys = "limit_queued, limit_submits_per_minute, limit_logs, limit_folders";

class Reader {
 public:
  explicit Reader(absl::string_view file) : file_(file) {}

  absl::StatusOr<ProjectQuota> read(const YAML::Node& name, const YAML::Node& fields) const {
    ProjectQuota quota;
    quota.project = name.IsScalar() ? name.Scalar() : "";
    if (quota.project != "*" && !is_queue_name(quota.project)) {
      return wrong_in_file(file_, name,
                           absl::StrCat("projects: \"", quota.project,
                                        "\" is not a name; 1 to 48 lower-case letters, digits and '-', or \"*\""));
    }
    const std::string path = absl::StrCat("projects.", quota.project);
    if (!fields.IsMap()) return wrong_in_file(file_, fields, absl::StrCat(path, ": a mapping is expected"));
    std::set<std::string> seen;
    for (const auto& field : fields) {
      const std::string key = field.first.IsScalar() ? field.first.Scalar() : "";
      if (!seen.insert(key).second)
        return wrong_in_file(file_, field.first, absl::StrCat(path, ".", key, " is there twice"));
      if (key != "users") {
        RETURN_IF_ERROR(read_limit(path, field.first, field.second, quota.all, ", users"));
        continue;
      }
      if (!field.second.IsMap())
        return wrong_in_file(file_, field.second, absl::StrCat(path, ".users: a mapping is expected"));
      for (const auto& limit : field.second)
        RETURN_IF_ERROR(read_limit(absl::StrCat(path, ".users"), limit.first, limit.second, quota.each_user, ""));
    }
    return quota;
  }

 private:
  absl::Status read_limit(const std::string& path, const YAML::Node& name, const YAML::Node& value, QuotaLimits& limits,
                          absl::string_view others) const {
    const std::string key = name.IsScalar() ? name.Scalar() : "";
    uint64_t* count = key == "limit_queued"               ? &limits.queued
                      : key == "limit_submits_per_minute" ? &limits.submits_per_minute
                                                          : nullptr;
    uint64_t* bytes = key == "limit_logs" ? &limits.log_bytes : key == "limit_folders" ? &limits.folder_bytes : nullptr;
    if (count == nullptr && bytes == nullptr) {
      return wrong_in_file(file_, name, absl::StrCat(path, " has no key \"", key, "\"; there are ", kKeys, others));
    }
    if (value.IsNull()) return absl::OkStatus();
    const std::string text = value.IsScalar() ? value.Scalar() : "";
    if (count != nullptr) {
      if (absl::SimpleAtoi(text, count) && *count > 0) return absl::OkStatus();
      return wrong_in_file(file_, value,
                           absl::StrCat(path, ".", key, ": \"", text, "\" is not a number of at least 1, or null"));
    }
    const std::optional<uint64_t> size = parse_bytes(text);
    if (!size || *size == 0) {
      return wrong_in_file(file_, value,
                           absl::StrCat(path, ".", key, ": \"", text, "\" is not a size such as 20GiB, or null"));
    }
    *bytes = *size;
    return absl::OkStatus();
  }

  const absl::string_view file_;
};

}  // namespace

absl::Status wrong_in_file(absl::string_view file, const YAML::Node& at, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", at.Mark().line + 1, ": ", what));
}

bool is_queue_name(const std::string& text) {
  return !text.empty() && text.size() <= 48 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-';
  });
}

absl::StatusOr<std::vector<ProjectQuota>> read_projects(absl::string_view file, const YAML::Node& projects) {
  if (!projects.IsMap())
    return wrong_in_file(file, projects,
                         "projects: a mapping of names is expected, such as {lab: {limit_queued: 100}}");
  std::vector<ProjectQuota> quotas;
  std::set<std::string> seen;
  for (const auto& entry : projects) {
    ASSIGN_OR_RETURN(ProjectQuota quota, Reader(file).read(entry.first, entry.second));
    if (!seen.insert(quota.project).second)
      return wrong_in_file(file, entry.first, absl::StrCat("projects.", quota.project, " is there twice"));
    quotas.push_back(std::move(quota));
  }
  return quotas;
}

}  // namespace galleon::server
