#include "client/inputs.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/job_file.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"

namespace galleon {

namespace {

bool is_here(const std::string& path) {
  std::error_code error;
  return path.empty() || is_address(path) || std::filesystem::exists(path, error) || !glob_paths(path).empty();
}

absl::StatusOr<v1::Job> with_shape_of_worker(JobClient& client, const v1::Job& job, const std::string& missing) {
  v1::ResolveJobRequest request;
  *request.mutable_job() = job;
  const absl::StatusOr<v1::ResolveJobResponse> response = client.resolve_job(request);
  if (response.ok()) {
    v1::Job complete = job;
    *complete.mutable_shape() = response->shape();
    return complete;
  }
  if (missing.empty() || !absl::IsFailedPrecondition(response.status())) return response.status();
  return absl::FailedPreconditionError(absl::StrCat(missing, " on this machine; ", response.status().message()));
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
  if (where == InputsOn::kHere) return resolve_job(job);
  const std::string missing = where == InputsOn::kAuto ? missing_here(job) : "";
  if (where == InputsOn::kAuto && missing.empty()) return resolve_job(job);
  return with_shape_of_worker(client, job, missing);
}

}  // namespace galleon
