#include "common/base/reach.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/read_all.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// Unset: whatever the user may.
std::optional<Reach>& reach_of_process() {
  static std::optional<Reach> reach;
  return reach;
}

bool lies_below(const std::string& path, const std::vector<std::string>& folders) {
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    return folder == "/" || path == folder || absl::StartsWith(path, absl::StrCat(folder, "/"));
  });
}

std::string link_of(int fd) {
  return absl::StrCat("/proc/self/fd/", fd);
}

// Where the kernel says that an open file lies.
absl::StatusOr<std::string> place_of(int fd, const std::string& path) {
  std::string place(PATH_MAX, '\0');
  const ssize_t n = ::readlink(link_of(fd).c_str(), place.data(), place.size());
  if (n < 0) return errno_status("cannot find where it lies:", path, errno);
  place.resize(static_cast<size_t>(n));
  if (place.size() == PATH_MAX || place[0] != '/')
    return absl::PermissionDeniedError(absl::StrCat(path, " lies where it has no path"));
  return place;
}

absl::Status outside(const std::string& path, const std::string& place, absl::string_view may,
                     const std::vector<std::string>& folders) {
  return absl::PermissionDeniedError(absl::StrCat(path, place == path ? "" : absl::StrCat(" (", place, ")"),
                                                  " lies outside of what this job may ", may, ": ",
                                                  absl::StrJoin(folders, ", ")));
}

// Follows a path without touching what it leads to.
absl::StatusOr<FileDescriptor> follow(const std::string& path, absl::string_view may,
                                      const std::vector<std::string>& folders) {
  FileDescriptor found(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!found.valid()) return errno_status("cannot open", path, errno);
  ASSIGN_OR_RETURN(const std::string place, place_of(found.get(), path));
  if (!lies_below(place, folders)) return outside(path, place, may, folders);
  return found;
}

}  // namespace

void limit_reach(Reach reach) {
  reach.reads.insert(reach.reads.end(), reach.writes.begin(), reach.writes.end());
  reach_of_process() = std::move(reach);
}

absl::StatusOr<FileDescriptor> open_to_read(const std::string& path) {
  const std::optional<Reach>& reach = reach_of_process();
  if (!reach) {
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return errno_status("cannot open", path, errno);
    return file;
  }
  ASSIGN_OR_RETURN(const FileDescriptor found, follow(path, "read", reach->reads));
  struct stat info {};
  if (::fstat(found.get(), &info) != 0) return errno_status("cannot open", path, errno);
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return absl::PermissionDeniedError(absl::StrCat(path, " is no plain file"));
  FileDescriptor file(::open(link_of(found.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return file;
}

absl::StatusOr<FileDescriptor> open_to_write(const std::string& path, int flags, mode_t mode) {
  const std::optional<Reach>& reach = reach_of_process();
  if (!reach) {
    FileDescriptor file(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (!file.valid()) return errno_status("cannot create", path, errno);
    return file;
  }
  const std::filesystem::path whole(path);
  const std::string folder = whole.parent_path().empty() ? "." : whole.parent_path().string();
  ASSIGN_OR_RETURN(const FileDescriptor found, follow(folder, "write", reach->writes));
  FileDescriptor file(
      ::openat(found.get(), whole.filename().c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode));
  if (!file.valid()) return errno_status("cannot create", path, errno);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return absl::PermissionDeniedError(absl::StrCat(path, " is no plain file"));
  return file;
}

absl::StatusOr<std::string> read_to_parse(const std::string& path, uint64_t most) {
  ASSIGN_OR_RETURN(const FileDescriptor file, open_to_read(path));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return errno_status("cannot read", path, errno);
  if (static_cast<uint64_t>(info.st_size) > most)
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", info.st_size, " bytes; up to ", most >> 20, " MiB are accepted"));
  return read_all(file.get(), path);
}

absl::StatusOr<std::string> read_system_file(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return read_all(file.get(), path);
}

}  // namespace galleon
