#include "common/base/secret_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon {

absl::StatusOr<std::string> read_secret(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return read_file(path);
  // A file of root's that was made readable to this program's group, as Kubernetes does, is as secret as can be.
  const bool given_by_root = info.st_uid == 0 && ::geteuid() != 0;
  const mode_t others = given_by_root ? S_IROTH : S_IRGRP | S_IROTH;
  if ((info.st_mode & others) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " may be read by others than its owner; chmod 600 ", path, " keeps it secret"));
  }
  return read_file(path);
}

}  // namespace galleon
