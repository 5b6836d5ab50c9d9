#include "worker/engine/data/shared_caches.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kLockSuffix = ".lock";
// Bytes of the lock file: who uses the cache has a share of the first, who makes it has the second.
constexpr off_t kUse = 0;
constexpr off_t kMake = 1;
constexpr int kMostTries = 500;  // while another process removes what is wanted, a moment each

// 0, or errno.
int lock_byte(int fd, off_t byte, short type) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  while (::fcntl(fd, F_OFD_SETLK, &range) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

bool is_held(int error) {
  return error == EAGAIN || error == EACCES;
}

absl::StatusOr<FileDescriptor> open_lock(const std::string& path, int flags) {
  return open_to_write(path, O_RDWR | flags);
}

struct Kept {
  int64_t bytes = 0;
  int64_t used = 0;  // seconds of the calendar
};

// Caches of a folder by name, with what they take on the disk.
absl::StatusOr<std::map<std::string, Kept>> list(const std::string& folder) {
  std::map<std::string, Kept> caches;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string file = entry->path().filename().string();
    struct stat status = {};
    const size_t dot = file.find('.');
    if (dot == 0 || dot == std::string::npos || ::lstat(entry->path().c_str(), &status) != 0) continue;
    Kept& kept = caches[file.substr(0, dot)];
    kept.bytes += static_cast<int64_t>(status.st_blocks) * 512;
    kept.used = std::max<int64_t>(kept.used, status.st_mtime);
  }
  if (error && error != std::errc::no_such_file_or_directory) return errno_status("cannot list", folder, error.value());
  return caches;
}

// A lock on a file that was removed between opening and locking holds nobody off: the next to come makes a new one.
bool is_removed(int fd) {
  struct stat status = {};
  return ::fstat(fd, &status) != 0 || status.st_nlink == 0;
}

// False: somebody holds it, or it cannot be known.
bool remove_unused(const std::string& base) {
  const absl::StatusOr<FileDescriptor> lock = open_lock(absl::StrCat(base, kLockSuffix), O_CREAT);
  if (!lock.ok() || lock_byte(lock->get(), kUse, F_WRLCK) != 0 || is_removed(lock->get())) return false;
  // The index first: what is left of it after a power cut is no cache. The lock last, as long as it is held.
  for (const char* suffix : {".json", ".tokens", ".sequences", ".lock"}) {
    std::error_code ignored;
    fs::remove(base + suffix, ignored);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CacheHold>> CacheHold::take(const std::string& folder, const std::string& name) {
  RETURN_IF_ERROR(make_folders(folder));
  const std::string path = absl::StrCat(folder, "/", name, kLockSuffix);
  for (int i = 0; i < kMostTries; ++i) {
    ASSIGN_OR_RETURN(FileDescriptor file, open_lock(path, O_CREAT));
    const int error = lock_byte(file.get(), kUse, F_RDLCK);
    if (error != 0 && !is_held(error))
      return absl::UnimplementedError(errno_status("cannot lock", path, error).message());
    if (error == 0 && !is_removed(file.get())) {
      (void)::futimens(file.get(), nullptr);
      return std::unique_ptr<CacheHold>(new CacheHold(std::move(file)));
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::AbortedError(absl::StrCat(path, " is locked by another process"));
}

CacheHold::~CacheHold() {
  (void)::futimens(lock_.get(), nullptr);
}

bool CacheHold::make() {
  return lock_byte(lock_.get(), kMake, F_WRLCK) == 0;
}

absl::StatusOr<int> trim(const SharedCaches& caches) {
  ASSIGN_OR_RETURN(const auto kept, list(caches.folder));
  int64_t total = 0;
  std::vector<std::pair<int64_t, std::string>> by_use;
  for (const auto& [name, cache] : kept) {
    total += cache.bytes;
    by_use.emplace_back(cache.used, name);
  }
  std::sort(by_use.begin(), by_use.end());
  int removed = 0;
  for (const auto& [used, name] : by_use) {
    if (total <= caches.most_bytes) break;
    if (!remove_unused(absl::StrCat(caches.folder, "/", name))) continue;
    total -= kept.at(name).bytes;
    ++removed;
  }
  return removed;
}

}  // namespace galleon
