#include "client/sweep.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/output.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/jobfile.h"

namespace galleon {

namespace {

constexpr size_t kLongestName = 48;

struct Sweep {
  std::string key;
  std::vector<std::string> values;
};

absl::StatusOr<std::vector<Setting>> parse_settings(const std::vector<std::string>& texts) {
  std::vector<Setting> settings;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(Setting setting, parse_setting("--set", text));
    for (const Setting& other : settings) {
      if (other.key == setting.key)
        return absl::InvalidArgumentError(absl::StrCat("--set ", setting.key, ": is given twice"));
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

// Is one key the other, or a section of it?
bool overlap(const std::string& a, const std::string& b) {
  return a == b || absl::StartsWith(a, b + ".") || absl::StartsWith(b, a + ".");
}

absl::StatusOr<std::vector<Sweep>> parse_sweeps(const std::vector<std::string>& texts,
                                                const std::vector<Setting>& settings) {
  std::vector<Sweep> sweeps;
  size_t jobs = 1;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const Setting setting, parse_setting("--sweep", text));
    Sweep sweep{setting.key, split_values(setting.value)};
    if (sweep.key == "name")
      return absl::InvalidArgumentError("--sweep name: jobs of a sweep are named by what they have otherwise");
    for (const Sweep& other : sweeps) {
      if (overlap(other.key, sweep.key))
        return absl::InvalidArgumentError(
            absl::StrCat("--sweep ", sweep.key, ": ", other.key, " is swept too, and both would set the same"));
    }
    for (const Setting& other : settings) {
      if (overlap(other.key, sweep.key))
        return absl::InvalidArgumentError(
            absl::StrCat("--sweep ", sweep.key, ": --set ", other.key, " would set the same"));
    }
    std::set<std::string> known;
    for (const std::string& value : sweep.values) {
      if (value.empty())
        return absl::InvalidArgumentError(
            absl::StrCat("--sweep ", text, ": a value is empty; KEY=VALUE,VALUE is accepted, \"\" for an empty text"));
      if (!known.insert(value).second)
        return absl::InvalidArgumentError(absl::StrCat("--sweep ", sweep.key, ": ", value, " is given twice"));
    }
    jobs *= sweep.values.size();
    if (jobs > kMostSweepJobs) {
      return absl::InvalidArgumentError(
          absl::StrCat("--sweep: more than ", kMostSweepJobs, " jobs; at most so many make a sweep"));
    }
    sweeps.push_back(std::move(sweep));
  }
  return sweeps;
}

// Errors of the file itself come with its lines; those of what was set, with the option.
absl::StatusOr<v1::Job> read_with(const JobText& file, const std::vector<Setting>& settings,
                                  const std::string& option) {
  if (settings.empty()) return parse_job(file.text, file.name, file.folder);
  const absl::Status own = parse_job(file.text, file.name, file.folder).status();
  YAML::Node root;
  try {
    root = YAML::Load(file.text);
  } catch (const YAML::Exception&) {
    return own;
  }
  if (!root.IsMap()) return own;
  for (const Setting& setting : settings) RETURN_IF_ERROR(set_key(root, option, setting));
  absl::StatusOr<v1::Job> job = parse_job(to_yaml(root), "", file.folder);
  if (job.ok()) return job;
  return own.ok() ? without_lines(job.status(), option) : own;
}

// A word for a name: what is no letter or digit becomes '-'.
std::string word(absl::string_view text) {
  std::string made;
  for (const char c : text) {
    if (absl::ascii_isalnum(c)) {
      made += absl::ascii_tolower(c);
    } else if (!made.empty() && made.back() != '-') {
      made += '-';
    }
  }
  while (!made.empty() && made.back() == '-') made.pop_back();
  return made;
}

// "learning-rate" as "lr".
std::string initials(const std::string& key) {
  std::string made;
  for (const absl::string_view part : absl::StrSplit(key, '-', absl::SkipEmpty())) made += part[0];
  return made;
}

// All that the model's shape may come from: jobs that are alike in it have the same.
std::string shape_key(const v1::Job& job) {
  v1::Job relevant = job;
  relevant.clear_name();
  relevant.clear_scheduling();
  relevant.clear_labels();
  relevant.clear_note();
  relevant.clear_tracking();
  relevant.clear_output();
  relevant.clear_checkpoint();
  relevant.mutable_optimizer()->clear_learning_rate();
  relevant.mutable_optimizer()->clear_schedule();
  relevant.mutable_model()->clear_seed();
  relevant.mutable_data()->clear_seed();
  // Its maps are in no order of their own.
  return job_to_yaml(relevant);
}

std::string settings_text(const std::vector<Setting>& settings) {
  return absl::StrJoin(settings, ", ", [](std::string* out, const Setting& setting) {
    absl::StrAppend(out, setting.key, "=", setting.value);
  });
}

// Which value each key has in one of the combinations, the last key changing fastest.
std::vector<Setting> combination(const std::vector<Sweep>& sweeps, size_t number) {
  std::vector<Setting> own;
  for (auto sweep = sweeps.rbegin(); sweep != sweeps.rend(); ++sweep) {
    own.insert(own.begin(), {sweep->key, sweep->values[number % sweep->values.size()]});
    number /= sweep->values.size();
  }
  return own;
}

std::string with_ordinal(const std::string& name, size_t number) {
  const std::string ordinal = absl::StrCat("-", number);
  return name.substr(0, kLongestName - ordinal.size()) + ordinal;
}

absl::Status of_job(const absl::Status& status, const std::string& settings) {
  return absl::Status(status.code(), absl::StrCat(absl::StripTrailingAsciiWhitespace(status.message()),
                                                  "\nin the job with ", settings));
}

// Copies of checkpoints go below the job's name, unless they have places of their own.
void separate_copies(v1::Job& job, const std::vector<Setting>& own) {
  const bool swept = std::any_of(own.begin(), own.end(),
                                 [](const Setting& setting) { return overlap(setting.key, "checkpoint.copy_to"); });
  if (!job.checkpoint().has_copy_to() || swept) return;
  std::string& copy_to = *job.mutable_checkpoint()->mutable_copy_to();
  while (absl::EndsWith(copy_to, "/")) copy_to.pop_back();
  absl::StrAppend(&copy_to, "/", job.name());
}

absl::Status fill_shapes(v1::CreateGroupRequest& request, const FillShape& fill) {
  std::map<std::string, v1::ModelShape> shapes;
  for (v1::CreateGroupRequest::Member& member : *request.mutable_members()) {
    const std::string key = shape_key(member.job());
    auto shape = shapes.find(key);
    if (shape == shapes.end()) {
      absl::StatusOr<v1::Job> resolved = fill(member.job());
      if (!resolved.ok()) {
        std::vector<Setting> own;
        for (const v1::SweepSetting& setting : member.settings()) own.push_back({setting.key(), setting.value()});
        return of_job(resolved.status(), settings_text(own));
      }
      shape = shapes.emplace(key, resolved->shape()).first;
    }
    *member.mutable_job()->mutable_shape() = shape->second;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> split_values(absl::string_view text) {
  std::vector<std::string> values(1);
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '"' && c == '\\' && i + 1 < text.size()) {
      values.back() += c;
      values.back() += text[++i];
      continue;
    }
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      // Within a plain word, as in don't, it is a letter.
      const std::string& before = values.back();
      if (before.find_first_not_of(" [{,:") == std::string::npos || before.back() == ' ' || before.back() == '[' ||
          before.back() == '{' || before.back() == ',' || before.back() == ':')
        quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && depth <= 0) {
      values.emplace_back();
      continue;
    }
    values.back() += c;
  }
  for (std::string& value : values) value = std::string(absl::StripAsciiWhitespace(value));
  return values;
}

std::string member_name(const std::string& job, const std::vector<Setting>& settings, size_t number) {
  std::string whole = job;
  std::string brief = job;
  for (const Setting& setting : settings) {
    const std::string key = word(setting.key.substr(setting.key.rfind('.') + 1));
    const std::string value = word(setting.value);
    absl::StrAppend(&whole, "-", key, "-", value);
    absl::StrAppend(&brief, "-", initials(key), value);
  }
  if (whole.size() <= kLongestName) return whole;
  if (brief.size() <= kLongestName) return brief;
  return with_ordinal(job, number);
}

absl::StatusOr<v1::Job> job_with(const JobText& file, const std::vector<std::string>& settings) {
  ASSIGN_OR_RETURN(const std::vector<Setting> parsed, parse_settings(settings));
  return read_with(file, parsed, "--set");
}

absl::StatusOr<v1::CreateGroupRequest> sweep_request(const JobText& file, const std::vector<std::string>& settings,
                                                     const std::vector<std::string>& texts, const FillShape& fill) {
  ASSIGN_OR_RETURN(const std::vector<Setting> common, parse_settings(settings));
  ASSIGN_OR_RETURN(const std::vector<Sweep> sweeps, parse_sweeps(texts, common));
  size_t jobs = 1;
  for (const Sweep& sweep : sweeps) jobs *= sweep.values.size();
  v1::CreateGroupRequest request;
  std::set<std::string> names;
  for (size_t number = 0; number < jobs; ++number) {
    const std::vector<Setting> own = combination(sweeps, number);
    std::vector<Setting> all = common;
    all.insert(all.end(), own.begin(), own.end());
    absl::StatusOr<v1::Job> job = read_with(file, all, "--sweep");
    if (!job.ok()) return of_job(job.status(), settings_text(own));
    request.set_group_name(job->name());
    std::string name = member_name(job->name(), own, number + 1);
    if (!names.insert(name).second) name = with_ordinal(name, number + 1);
    job->set_name(name);
    separate_copies(*job, own);
    v1::CreateGroupRequest::Member& member = *request.add_members();
    *member.mutable_job() = *std::move(job);
    for (const Setting& setting : own) {
      v1::SweepSetting& made = *member.add_settings();
      made.set_key(setting.key);
      made.set_value(setting.value);
    }
  }
  RETURN_IF_ERROR(fill_shapes(request, fill));
  return request;
}

}  // namespace galleon
