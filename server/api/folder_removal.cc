#include "server/api/folder_removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon::server {

namespace {

constexpr size_t kDeepest = 128;  // folders in each other, each of which stays open
constexpr int kTries = 3;         // of a folder into which somebody still writes

class Removal {
 public:
  Removal(dev_t device, std::vector<std::string> kept) : device_(device), kept_(std::move(kept)) {}

  // Empties the open folder. `on_the_way`: it is so deep on the way to what is kept; -1: it is not.
  absl::Status empty(int folder, const std::string& path, size_t depth, int on_the_way) {
    if (depth > kDeepest)
      return absl::FailedPreconditionError(absl::StrCat(path, " lies deeper than ", kDeepest, " folders"));
    std::vector<std::string> names;
    RETURN_IF_ERROR(list(folder, path, names));
    const bool at_end = on_the_way == static_cast<int>(kept_.size());
    for (const std::string& name : names) {
      if (at_end && absl::StartsWith(name, "step-")) continue;
      const bool leads = on_the_way >= 0 && !at_end && name == kept_[static_cast<size_t>(on_the_way)];
      RETURN_IF_ERROR(take(folder, name, absl::StrCat(path, "/", name), depth, leads ? on_the_way + 1 : -1));
    }
    return absl::OkStatus();
  }

  // Removes one entry of an open folder, or empties it where it is on the way to what is kept.
  absl::Status take(int folder, const std::string& name, const std::string& path, size_t depth, int on_the_way) {
    for (int left = kTries; left > 0; --left) {
      FileDescriptor inner(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inner.valid() && errno == ENOENT) return absl::OkStatus();
      // A file or a link.
      if (!inner.valid() && (errno == ENOTDIR || errno == ELOOP)) {
        if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
        return errno_status("cannot remove", path, errno);
      }
      if (!inner.valid()) return errno_status("cannot open", path, errno);
      struct stat info {};
      if (::fstat(inner.get(), &info) != 0) return errno_status("cannot read", path, errno);
      if (info.st_dev != device_)
        return absl::FailedPreconditionError(absl::StrCat("another file system is mounted at ", path));
      RETURN_IF_ERROR(empty(inner.get(), path, depth + 1, on_the_way));
      if (on_the_way >= 0) return absl::OkStatus();
      if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return absl::OkStatus();
      if (errno != ENOTEMPTY && errno != EEXIST) return errno_status("cannot remove", path, errno);
    }
    return absl::UnavailableError(absl::StrCat(path, " does not become empty: something still writes into it"));
  }

 private:
  static absl::Status list(int folder, const std::string& path, std::vector<std::string>& names) {
    FileDescriptor copy(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!copy.valid()) return errno_status("cannot open", path, errno);
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::fdopendir(copy.get()), ::closedir);
    if (open == nullptr) return errno_status("cannot read", path, errno);
    (void)copy.release();
    errno = 0;
    while (const dirent* entry = ::readdir(open.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    return errno == 0 ? absl::OkStatus() : errno_status("cannot read", path, errno);
  }

  const dev_t device_;
  const std::vector<std::string> kept_;
};

}  // namespace

absl::Status remove_below(const std::string& root, const std::string& name, const std::string& kept) {
  if (name.empty() || name == "." || name == ".." || absl::StrContains(name, "/"))
    return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no folder directly below ", root));
  FileDescriptor top(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.valid()) return errno_status("cannot open", root, errno);
  const std::string path = absl::StrCat(root, "/", name);
  struct stat info {};
  if (::fstatat(top.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? absl::OkStatus() : errno_status("cannot read", path, errno);
  std::vector<std::string> parts = absl::StrSplit(kept, '/', absl::SkipEmpty());
  const int on_the_way = parts.empty() ? -1 : 0;
  Removal removal(info.st_dev, std::move(parts));
  RETURN_IF_ERROR(removal.take(top.get(), name, path, 0, on_the_way));
  return ::fsync(top.get()) == 0 ? absl::OkStatus() : errno_status("cannot flush", root, errno);
}

}  // namespace galleon::server
