#include "common/base/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kRun = kRead | LANDLOCK_ACCESS_FS_EXECUTE;
constexpr uint64_t kRefer = uint64_t{1} << 13;     // since version 2
constexpr uint64_t kTruncate = uint64_t{1} << 14;  // since version 3
constexpr uint64_t kChange = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                             LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                             LANDLOCK_ACCESS_FS_MAKE_SYM | kRefer | kTruncate;
constexpr uint64_t kAll = kRun | kChange | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
constexpr uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE | kTruncate;

uint64_t known_to(int version) {
  return kAll & ~(version < 2 ? kRefer : 0) & ~(version < 3 ? kTruncate : 0);
}

absl::Status add(int ruleset, const std::string& path, uint64_t access) {
  const FileDescriptor place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!place.valid()) return errno == ENOENT ? absl::OkStatus() : errno_status("cannot open", path, errno);
  struct stat info {};
  if (::fstat(place.get(), &info) != 0) return errno_status("cannot open", path, errno);
  landlock_path_beneath_attr rule{};
  rule.allowed_access = S_ISDIR(info.st_mode) ? access : access & kOfFiles;
  rule.parent_fd = place.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U) != 0)
    return errno_status("Landlock takes no rule for", path, errno);
  return absl::OkStatus();
}

}  // namespace

int landlock_version() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, size_t{0}, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? static_cast<int>(version) : 0;
}

absl::StatusOr<FileDescriptor> make_ruleset(const FileRules& rules) {
  const int version = landlock_version();
  if (version == 0) return absl::UnimplementedError("this kernel has no Landlock, or it is not switched on");
  const uint64_t known = known_to(version);
  landlock_ruleset_attr all{};
  all.handled_access_fs = known;
  FileDescriptor ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0U)));
  if (!ruleset.valid()) return errno_status("cannot make", "a ruleset of Landlock", errno);
  for (const std::string& path : rules.run) RETURN_IF_ERROR(add(ruleset.get(), path, kRun & known));
  for (const std::string& path : rules.read) RETURN_IF_ERROR(add(ruleset.get(), path, kRead & known));
  for (const std::string& path : rules.write) RETURN_IF_ERROR(add(ruleset.get(), path, (kRead | kChange) & known));
  return ruleset;
}

bool restrict_self(int ruleset) {
  const int own = ::open("/proc/self", O_PATH | O_CLOEXEC);
  if (own >= 0) {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = kRead;
    rule.parent_fd = own;
    (void)::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U);
    ::close(own);
  }
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::syscall(SYS_landlock_restrict_self, ruleset, 0U) == 0;
}

}  // namespace galleon
