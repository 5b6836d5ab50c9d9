#include "client/inputs.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/job_file.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

bool is_here(const std::string& path) {
  std::error_code error;
  return path.empty() || is_address(path) || std::filesystem::exists(path, error) || !glob_paths(path).empty();
}

// What the worker lacks and this machine has, as a sentence that says how to send it.
std::string how_to_send(const v1::Job& job, absl::string_view refusal) {
  for (const auto& [key, path] : {std::pair<std::string, std::string>("tokenizer", job.tokenizer()),
                                  {"data.chat_template", job.data().chat_template()}}) {
    const bool lacks = absl::StrContains(refusal, absl::StrCat(key, ": there is no ", path)) ||
                       absl::StrContains(refusal, absl::StrCat(key, ": ", path, " lies outside"));
    if (!path.empty() && is_here(path) && lacks)
      return absl::StrCat("; it is on this machine: --attach ", key, " sends it with the job");
  }
  return "";
}

absl::StatusOr<v1::Job> with_shape_of_worker(JobClient& client, const v1::Job& job, const std::string& missing,
                                             const std::string& request_id) {
  v1::ResolveJobRequest request;
  *request.mutable_job() = job;
  request.set_request_id(request_id);
  const absl::StatusOr<v1::ResolveJobResponse> response = client.resolve_job(request);
  if (response.ok()) {
    v1::Job complete = job;
    *complete.mutable_shape() = response->shape();
    return complete;
  }
  if (!absl::IsFailedPrecondition(response.status())) return response.status();
  return absl::FailedPreconditionError(absl::StrCat(missing, missing.empty() ? "" : " on this machine; ",
                                                    response.status().message(),
                                                    how_to_send(job, response.status().message())));
}

}  // namespace

std::string missing_here(const v1::Job& job) {
  const auto there_is_no = [](absl::string_view key, const std::string& path) {
    return absl::StrCat(key, ": there is no ", path);
  };
  const auto no_match = [](absl::string_view key, const std::string& glob) {
    return absl::StrCat(key, ": no file matches ", glob);
  };
  const std::string& model = job.model().source();
  if (!absl::StartsWith(model, "preset:") && !is_here(model)) return there_is_no("model.source", model);
  if (job.tokenizer() != "bytes" && !is_here(job.tokenizer())) return there_is_no("tokenizer", job.tokenizer());
  const std::string& chat = job.data().chat_template();
  if (!absl::StartsWith(chat, "preset:") && !is_here(chat)) return there_is_no("data.chat_template", chat);
  for (const std::string& glob : job.data().train()) {
    if (!is_here(glob)) return no_match("data.train", glob);
  }
  for (const std::string& glob : job.data().validation()) {
    if (!is_here(glob)) return no_match("data.validation", glob);
  }
  const std::string trainer = trainer_path();
  return ::access(trainer.c_str(), X_OK) == 0 ? "" : absl::StrCat("there is no ", trainer);
}

absl::StatusOr<v1::Job> with_shape(InputsOn where, JobClient& client, const v1::Job& job) {
  return with_shape(where, client, job, {}, "");
}

absl::StatusOr<v1::Job> with_shape(InputsOn where, JobClient& client, const v1::Job& job, const Attachments& attached,
                                   const std::string& request_id) {
  const std::string missing = where == InputsOn::kAuto ? missing_here(job) : "";
  if (where == InputsOn::kHere || (where == InputsOn::kAuto && missing.empty())) {
    ASSIGN_OR_RETURN(v1::Job complete, resolve_job(job));
    return with_attachments(std::move(complete), attached);
  }
  return with_shape_of_worker(client, with_attachments(job, attached), missing, attached.empty() ? "" : request_id);
}

}  // namespace galleon
