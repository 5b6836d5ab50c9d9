#include "proto/jobfile/jobfile.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/issues.h"
#include "proto/jobfile/keys.h"
#include "proto/jobfile/yaml_reader.h"

namespace galleon {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

std::string resolve_path(const std::string& path, absl::string_view folder) {
  if (path.empty() || folder.empty() || path == "bytes" || absl::StartsWith(path, "preset:") || is_address(path))
    return path;
  const std::filesystem::path given(path);
  if (given.is_absolute()) return path;
  return (std::filesystem::path(std::string(folder)) / given).lexically_normal().string();
}

void resolve_paths(Message& message, absl::string_view folder) {
  const Reflection& reflection = *message.GetReflection();
  for (const FieldDescriptor* field : keys_of(*message.GetDescriptor())) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (!field->is_repeated() && reflection.HasField(message, field)) {
        resolve_paths(*reflection.MutableMessage(&message, field), folder);
      }
    } else if (key_options(*field).path()) {
      if (field->is_repeated()) {
        for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
          const std::string path = reflection.GetRepeatedString(message, field, i);
          reflection.SetRepeatedString(&message, field, i, resolve_path(path, folder));
        }
      } else if (reflection.HasField(message, field)) {
        reflection.SetString(&message, field, resolve_path(reflection.GetString(message, field), folder));
      }
    }
  }
}

// Fills in the nulls that follow from other keys alone.
void derive(v1::Job& job) {
  if (!job.model().has_init()) {
    job.mutable_model()->set_init(job.task() == v1::TASK_PRETRAIN ? v1::Model::INIT_RANDOM
                                                                  : v1::Model::INIT_PRETRAINED);
  }
  v1::Optimizer& optimizer = *job.mutable_optimizer();
  const auto is = [&](v1::Optimizer::Rule rule) { return optimizer.rule() == rule; };
  const bool muon = is(v1::Optimizer::RULE_MUON) || is(v1::Optimizer::RULE_MUON8BIT);
  const bool adam = !is(v1::Optimizer::RULE_ADAFACTOR) && !is(v1::Optimizer::RULE_SGD);
  if (!optimizer.has_beta1() && adam) optimizer.set_beta1(0.9);
  if (!optimizer.has_momentum()) optimizer.set_momentum(muon ? 0.95 : 0.9);
  if (optimizer.has_galore() && !optimizer.galore().has_moments_at_refresh()) {
    optimizer.mutable_galore()->set_moments_at_refresh(muon ? v1::Galore::MOMENTS_AT_REFRESH_ROTATE
                                                            : v1::Galore::MOMENTS_AT_REFRESH_KEEP);
  }
  if (!optimizer.has_epsilon()) {
    if (is(v1::Optimizer::RULE_ADAM8BIT) || is(v1::Optimizer::RULE_MUON8BIT)) {
      optimizer.set_epsilon(1e-8);
    } else if (is(v1::Optimizer::RULE_ADAFACTOR)) {
      optimizer.set_epsilon(1e-30);
    } else if (adam) {
      optimizer.set_epsilon(1e-6);
    }
  }
  if (!optimizer.has_weight_decay())
    optimizer.set_weight_decay(optimizer.rule() == v1::Optimizer::RULE_ADAM8BIT ? 0.01 : 0.0);
  v1::Schedule& schedule = *optimizer.mutable_schedule();
  const bool wsd = schedule.type() == v1::Schedule::TYPE_WSD;
  if (!schedule.has_min_ratio())
    schedule.set_min_ratio(wsd || schedule.type() == v1::Schedule::TYPE_LINEAR ? 0.0 : 0.1);
  if (!schedule.has_steps() && job.training().steps() > 0) schedule.set_steps(job.training().steps());
  if (!schedule.has_warmup_steps() && schedule.has_steps()) schedule.set_warmup_steps(schedule.steps() / 10);
  if (wsd && !schedule.has_decay()) schedule.set_decay(v1::Schedule::DECAY_LINEAR);
  if (wsd && !schedule.has_decay_steps() && schedule.has_steps())
    schedule.set_decay_steps(std::max<uint64_t>(1, schedule.steps() / 10));
}

std::string issue_text(const JobIssue& issue) {
  return issue.key.empty() ? issue.text : absl::StrCat(issue.key, ": ", issue.text);
}

// The line of a key, or of the nearest section around it.
int find_line(const KeyLines& lines, std::string key) {
  while (!key.empty()) {
    if (const auto found = lines.find(key); found != lines.end()) return found->second;
    const size_t end = key.find_last_of(".[");
    key = end == std::string::npos ? "" : key.substr(0, end);
  }
  return 0;
}

absl::Status to_status(const JobIssues& issues) {
  if (issues.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(
      issues, "\n", [](std::string* out, const JobIssue& issue) { absl::StrAppend(out, issue_text(issue)); }));
}

}  // namespace

absl::StatusOr<v1::Job> parse_job(absl::string_view yaml, absl::string_view file_name, absl::string_view folder) {
  v1::Job job;
  KeyLines lines;
  JobIssues issues;
  read_yaml(yaml, job, lines, issues);
  // A value that could not be read leaves its key unset; contradictions are looked for only in what was read whole.
  if (issues.empty()) {
    resolve_paths(job, folder);
    derive(job);
    find_contradictions(job, issues);
    for (JobIssue& issue : issues) issue.line = find_line(lines, issue.key);
  }
  if (issues.empty()) return job;
  std::stable_sort(issues.begin(), issues.end(), [](const JobIssue& a, const JobIssue& b) { return a.line < b.line; });
  std::vector<std::string> text;
  for (const JobIssue& issue : issues) {
    text.push_back(issue.line > 0 ? absl::StrCat(file_name, ":", issue.line, ": ", issue_text(issue))
                                  : absl::StrCat(file_name, ": ", issue_text(issue)));
  }
  return absl::InvalidArgumentError(absl::StrJoin(text, "\n"));
}

absl::StatusOr<v1::Job> load_job_file(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder; a job file is accepted"));
  }
  ASSIGN_OR_RETURN(std::string yaml, read_file(path));
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  return parse_job(yaml, path, whole.parent_path().lexically_normal().string());
}

absl::Status validate_job(const v1::Job& job) {
  JobIssues issues;
  // What follows reads words of enumerations, which an unknown value has not.
  find_unknown_values(job, issues);
  if (issues.empty()) find_contradictions(job, issues);
  return to_status(issues);
}

}  // namespace galleon
