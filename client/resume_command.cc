// A job that has ended goes on: as itself, or with other settings as a new one that begins with its newest checkpoint.
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "client/selection.h"
#include "client/settings.h"
#include "client/tables.h"
#include "common/base/ids.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "proto/jobfile/jobfile.h"
#include "proto/jobfile/keys.h"

namespace galleon {

namespace {

// A checkpoint goes on with the computation that made it, or not at all. Keys that are not part of it may be others.
absl::Status check_key(const std::string& key, const std::string& job) {
  if (key == "checkpoint.resume")
    return absl::InvalidArgumentError(absl::StrCat("--set ", key, ": it begins with the newest checkpoint of ", job));
  const google::protobuf::Descriptor* section = v1::Job::descriptor();
  const google::protobuf::FieldDescriptor* field = nullptr;
  for (const absl::string_view word : absl::StrSplit(key, '.')) {
    if (field != nullptr && field->is_map()) break;
    field = section == nullptr ? nullptr : section->FindFieldByName(std::string(word));
    // What is no key is told by who reads it.
    if (field == nullptr) return absl::OkStatus();
    section = field->message_type();
  }
  const bool length = key == "training.steps" || key == "training.epochs";
  const bool files = key == "data.train" || key == "data.validation";
  if (key_options(*field).operational() || length || files) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--set ", key,
      ": is part of the computation that the checkpoint is of; training.steps, training.epochs, data.train ",
      "and single keys that are not part of it are accepted, such as parallel.ranks, checkpoint.every, "
      "scheduling.queue or ",
      "labels; galleon get ", job, " --job-file gives a file for a job of its own"));
}

absl::StatusOr<v1::Job> changed_job(const v1::JobRecord& record, const std::vector<std::string>& settings) {
  v1::Job before = record.job();
  // As they are in force.
  before.mutable_scheduling()->set_queue(record.queue());
  before.mutable_scheduling()->set_priority(record.priority());
  // What came before it has ended, and may have left the list.
  before.mutable_scheduling()->clear_after();
  before.mutable_checkpoint()->set_resume(record.checkpoint().folder());
  YAML::Node root = YAML::Load(job_to_yaml(before));
  std::set<std::string> given;
  for (const std::string& text : settings) {
    ASSIGN_OR_RETURN(const Setting setting, parse_setting("--set", text));
    if (!given.insert(setting.key).second)
      return absl::InvalidArgumentError(absl::StrCat("--set ", setting.key, ": is given twice"));
    RETURN_IF_ERROR(check_key(setting.key, record.job_id()));
    RETURN_IF_ERROR(set_key(root, "--set", setting));
  }
  absl::StatusOr<v1::Job> job = parse_job(to_yaml(root), "", std::filesystem::current_path().string());
  if (!job.ok()) return without_lines(job.status(), "--set");
  *job->mutable_shape() = record.job().shape();
  return job;
}

int resume_as_new(const Remote& remote, const std::string& name, const std::vector<std::string>& settings) {
  JobClient client = client_of(remote);
  const absl::StatusOr<v1::JobRecord> record = client.get_job(name);
  if (!record.ok()) return fail(std::string(record.status().message()));
  if (!is_terminal(record->state())) {
    return fail(absl::StrCat(record->job_id(), " is ", v1::JobRecord::State_Name(record->state()),
                             "; a job that has ended goes on as a new one"));
  }
  if (!record->has_checkpoint()) {
    return fail(absl::StrCat(record->job_id(), " has published no checkpoint to begin with; galleon get ",
                             record->job_id(), " --job-file gives a file to change"));
  }
  const absl::StatusOr<v1::Job> job = changed_job(*record, settings);
  if (!job.ok()) return fail(std::string(job.status().message()));
  v1::CreateJobRequest request;
  *request.mutable_job() = *job;
  request.set_request_id(random_hex(16));
  const absl::StatusOr<v1::JobRecord> made = client.create_job(request);
  if (!made.ok()) return fail(std::string(made.status().message()));
  if (remote.format != OutputFormat::kTable) {
    print_message(*made, remote.format);
  } else {
    std::cout << "submitted " << made->job_id() << ", which begins with step " << record->checkpoint().step() << " of "
              << record->job_id() << "\n";
  }
  return 0;
}

}  // namespace

int run_resume(const Remote& remote, const Selection& selection, const std::vector<std::string>& settings) {
  if (!settings.empty()) {
    if (selection.jobs.size() != 1) return fail("--set makes a new job of one that is named; name one");
    return resume_as_new(remote, selection.jobs.front(), settings);
  }
  JobClient client = client_of(remote);
  return order_each(remote, client, selection, {"resume", {v1::JobRecord::FAILED, v1::JobRecord::CANCELLED}},
                    [&](const std::string& name, const std::string& etag) -> absl::StatusOr<std::string> {
                      v1::ResumeJobRequest request;
                      request.set_name(name);
                      request.set_etag(etag);
                      ASSIGN_OR_RETURN(const v1::JobRecord record, client.resume_job(request));
                      if (remote.format != OutputFormat::kTable) return to_json(record);
                      const uint64_t step = record.checkpoint().step();
                      return absl::StrCat(record.job_id(), " goes on ",
                                          step > 0 ? absl::StrCat("from step ", step) : "from its beginning", ": ",
                                          printable(record.message()), "\n");
                    });
}

}  // namespace galleon
