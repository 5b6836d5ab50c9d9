#include "common/base/disk_guard.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace galleon {

namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kBlock = 512;  // of st_blocks, whatever the file system's

std::string size_text(uint64_t bytes) {
  if (bytes >= kGiB) return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
  return absl::StrCat(bytes >> 20, " MiB");
}

}  // namespace

std::optional<DiskSpace> disk_space(const std::string& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0 || info.f_blocks == 0) return std::nullopt;
  return DiskSpace{static_cast<uint64_t>(info.f_bavail) * info.f_frsize,
                   static_cast<uint64_t>(info.f_blocks) * info.f_frsize};
}

void DiskGuard::watch(const std::string& folder) {
  const std::lock_guard<std::mutex> lock(mutex_);
  folder_ = folder;
}

std::optional<DiskSpace> DiskGuard::last() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return last_;
}

bool DiskGuard::is_short() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return short_;
}

std::string DiskGuard::look() {
  const std::string folder = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return folder_;
  }();
  // Without the lock: a file system may take long to answer.
  const std::optional<DiskSpace> space = folder.empty() ? std::nullopt : look_(folder);
  const std::lock_guard<std::mutex> lock(mutex_);
  last_ = space;
  if (!space) {
    short_ = false;
    return "";
  }
  const uint64_t wanted = keep_free_ > 0 ? keep_free_ : std::min(kGiB, space->size / 50);
  const uint64_t needed = short_ ? wanted + wanted / 10 : wanted;
  short_ = space->free < needed;
  if (!short_) return "";
  return absl::StrCat("the disk of ", folder, " has ", size_text(space->free), " of ", size_text(space->size),
                      " left, and ", size_text(needed), " are kept free (--keep-free)");
}

uint64_t folder_bytes(const std::string& folder) {
  std::error_code error;
  uint64_t blocks = 0;
  std::set<std::pair<dev_t, ino_t>> linked;
  std::filesystem::recursive_directory_iterator entries(
      folder, std::filesystem::directory_options::skip_permission_denied, error);
  for (; !error && entries != std::filesystem::recursive_directory_iterator(); entries.increment(error)) {
    struct stat info {};
    if (::lstat(entries->path().c_str(), &info) != 0) continue;
    if (info.st_nlink > 1 && S_ISREG(info.st_mode) && !linked.emplace(info.st_dev, info.st_ino).second) continue;
    blocks += static_cast<uint64_t>(info.st_blocks);
  }
  return blocks * kBlock;
}

}  // namespace galleon
