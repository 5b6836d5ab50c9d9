#include "worker/daemon/input_paths.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

bool lies_under(const fs::path& path, const std::string& root) {
  return path == fs::path(root) || absl::StartsWith(path.string(), root == "/" ? root : absl::StrCat(root, "/"));
}

// The part of a glob before its first pattern.
std::string fixed_part(const std::string& pattern) {
  const size_t wild = pattern.find_first_of("*?[{");
  if (wild == std::string::npos) return pattern;
  const size_t slash = pattern.rfind('/', wild);
  return slash == std::string::npos ? "." : pattern.substr(0, slash + 1);
}

absl::Status outside(const std::string& key, const std::string& path, const std::string& real,
                     const std::vector<std::string>& roots) {
  return absl::PermissionDeniedError(
      absl::StrCat(key, ": ", path, real, " lies outside of what this worker may read: ", absl::StrJoin(roots, ", "),
                   "; move it there or start the worker with --allow"));
}

bool lies_below_address(const std::string& address, const std::vector<std::string>& roots) {
  return check_address(address).ok() && std::any_of(roots.begin(), roots.end(), [&](const std::string& root) {
           return address == root || absl::StartsWith(address, absl::StrCat(root, "/"));
         });
}

// An object store's address is below one that is allowed.
absl::Status check_stored(const std::string& key, const std::string& address, const std::vector<std::string>& roots) {
  if (absl::Status s = check_address(address); !s.ok())
    return absl::InvalidArgumentError(absl::StrCat(key, ": ", s.message()));
  return lies_below_address(address, roots) ? absl::OkStatus() : outside(key, address, "", roots);
}

absl::Status check_one(const std::string& key, const std::string& path, const std::vector<std::string>& roots) {
  if (is_address(path)) return check_stored(key, path, roots);
  if (!fs::path(path).is_absolute()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": ", path, " is not an absolute path"));
  }
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  if (!error) {
    for (const std::string& root : roots) {
      if (lies_under(real, root)) return absl::OkStatus();
    }
  }
  const fs::path given = fs::path(path).lexically_normal();
  return outside(key, path, real != given && real / "" != given ? absl::StrCat(" (", real.string(), ")") : "", roots);
}

absl::Status check_glob(const std::string& key, const std::string& pattern, const std::vector<std::string>& roots) {
  if (is_address(pattern)) {
    if (absl::Status s = check_address(pattern); !s.ok())
      return absl::PermissionDeniedError(absl::StrCat(key, ": ", s.message()));
    return check_stored(key, fixed_part(pattern), roots);
  }
  std::error_code error;
  if (fs::exists(pattern, error)) return check_one(key, pattern, roots);
  RETURN_IF_ERROR(check_one(key, fixed_part(pattern), roots));
  for (const std::string& path : glob_paths(pattern)) {
    RETURN_IF_ERROR(check_one(key, path, roots));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> resolve_address(absl::string_view option, const std::string& address) {
  if (absl::Status s = check_address(address); !s.ok())
    return absl::InvalidArgumentError(absl::StrCat(option, " ", s.message()));
  return without_trailing_slashes(address);
}

absl::Status present(const std::string& key, const std::string& path) {
  std::error_code error;
  if (path.empty() || is_address(path) || fs::exists(path, error) || !glob_paths(path).empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(key, ": there is no ", path,
                                          " on this worker's machine; mount or copy it there, or correct the path"));
}

}  // namespace

absl::Status check_inputs_present(const v1::Job& job) {
  if (!absl::StartsWith(job.model().source(), "preset:"))
    RETURN_IF_ERROR(present("model.source", job.model().source()));
  if (job.has_tokenizer() && job.tokenizer() != "bytes") RETURN_IF_ERROR(present("tokenizer", job.tokenizer()));
  for (const std::string& glob : job.data().train()) RETURN_IF_ERROR(present("data.train", glob));
  for (const std::string& glob : job.data().validation()) RETURN_IF_ERROR(present("data.validation", glob));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> resolve_copies(const std::vector<std::string>& addresses) {
  std::vector<std::string> resolved;
  for (const std::string& address : addresses) {
    if (!is_address(address)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--allow-copies ", address, " is no address in an object store, such as s3://BUCKET/PATH"));
    }
    ASSIGN_OR_RETURN(resolved.emplace_back(), resolve_address("--allow-copies", address));
  }
  return resolved;
}

absl::StatusOr<std::vector<std::string>> resolve_roots(const std::vector<std::string>& roots) {
  std::vector<std::string> resolved;
  for (const std::string& root : roots) {
    if (is_address(root)) {
      ASSIGN_OR_RETURN(resolved.emplace_back(), resolve_address("--allow", root));
      continue;
    }
    std::error_code error;
    const fs::path real = fs::canonical(root, error);
    if (error || !fs::is_directory(real, error)) {
      return absl::NotFoundError(absl::StrCat("--allow ", root, " is not a folder on this machine"));
    }
    resolved.push_back(real.string());
  }
  return resolved;
}

std::vector<std::string> with_readable(std::vector<std::string> roots, const std::string& folder) {
  std::error_code error;
  if (!folder.empty()) roots.push_back(fs::weakly_canonical(folder, error).string());
  return roots;
}

absl::Status check_input_paths(const v1::Job& job, const std::string& job_folder, const std::vector<std::string>& roots,
                               const std::vector<std::string>& copies, bool has_folder) {
  std::error_code error;
  const std::string own = fs::weakly_canonical(job_folder, error).string();
  std::vector<std::string> allowed = roots;
  if (has_folder) allowed.push_back(own);
  absl::Status status;
  if (!absl::StartsWith(job.model().source(), "preset:"))
    status.Update(check_one("model.source", job.model().source(), allowed));
  if (job.has_tokenizer() && job.tokenizer() != "bytes")
    status.Update(check_one("tokenizer", job.tokenizer(), allowed));
  if (job.data().has_chat_template() && !absl::StartsWith(job.data().chat_template(), "preset:"))
    status.Update(check_one("data.chat_template", job.data().chat_template(), allowed));
  for (const std::string& glob : job.data().train()) status.Update(check_glob("data.train", glob, allowed));
  for (const std::string& glob : job.data().validation()) status.Update(check_glob("data.validation", glob, allowed));
  if (!status.ok()) return status;

  const fs::path checkpoints = fs::weakly_canonical(fs::path(own) / job.checkpoint().directory(), error);
  if (error || !lies_under(checkpoints, own)) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint.directory: ", job.checkpoint().directory(),
                                                   " leaves the job's own folder ", own,
                                                   "; a relative folder is accepted"));
  }
  const std::string& copy_to = job.checkpoint().copy_to();
  if (!copy_to.empty() && !lies_below_address(copy_to, copies)) {
    return absl::PermissionDeniedError(
        absl::StrCat("checkpoint.copy_to: ", copy_to, " is not where this worker lets jobs write",
                     copies.empty() ? "" : absl::StrCat(" (", absl::StrJoin(copies, ", "), ")"),
                     "; start the worker with --allow-copies"));
  }
  allowed.insert(allowed.end(), copies.begin(), copies.end());
  const std::string& resume = job.checkpoint().resume();
  if (!resume.empty() && resume != "auto" && resume != "never") {
    return check_one("checkpoint.resume", is_address(resume) ? resume : (fs::path(own) / resume).string(), allowed);
  }
  return absl::OkStatus();
}

}  // namespace galleon
