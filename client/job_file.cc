#include "client/job_file.h"

#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "common/base/status_macros.h"

namespace galleon {

absl::StatusOr<JobText> read_job_text(const std::string& path) {
  if (path == "-") {
    return JobText{std::string(std::istreambuf_iterator<char>(std::cin), {}), "standard input",
                   std::filesystem::current_path().string()};
  }
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder; a job file is accepted"));
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  return JobText{std::move(text), path, whole.parent_path().lexically_normal().string()};
}

absl::StatusOr<v1::Job> resolve_job(const v1::Job& job) {
  const std::string base =
      absl::StrCat(std::filesystem::temp_directory_path().string(), "/galleon-job-", random_hex(8));
  const std::string given = base + ".job";
  const std::string resolved = base + ".pb";
  RETURN_IF_ERROR(write_file_atomically(given, job.SerializeAsString()));
  absl::StatusOr<CommandResult> result =
      run_command({trainer_path(), "--resolve", "--job", given, "--output", resolved}, absl::Minutes(2));
  absl::StatusOr<std::string> text = read_file(resolved);
  ::unlink(given.c_str());
  ::unlink(resolved.c_str());
  if (!result.ok()) return result.status();
  if (result->timed_out) return absl::DeadlineExceededError("reading the model's shape took longer than two minutes");
  if (result->exit.code != 0 || result->exit.signal != 0 || !text.ok())
    return absl::InvalidArgumentError(result->err.empty() ? "galleon-trainer --resolve failed" : result->err);
  v1::Job complete;
  if (!complete.ParseFromString(*text))
    return absl::InternalError("galleon-trainer --resolve wrote something else than a job");
  return complete;
}

}  // namespace galleon
