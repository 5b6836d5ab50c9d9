// Whether a folder's disk has room left, so that who fills it stops before others on it fail.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace galleon {

struct DiskSpace {
  uint64_t free = 0;  // bytes that this process may still write
  uint64_t size = 0;
};

// nullopt: the file system does not tell.
std::optional<DiskSpace> disk_space(const std::string& folder);

// For any thread.
class DiskGuard {
 public:
  using Look = std::function<std::optional<DiskSpace>(const std::string& folder)>;
  // `keep_free`: bytes; 0: 1 GiB, or a fiftieth of a disk that is smaller than 50 GiB.
  explicit DiskGuard(uint64_t keep_free, std::string folder = "", Look look = disk_space)
      : keep_free_(keep_free), folder_(std::move(folder)), look_(std::move(look)) {}

  void watch(const std::string& folder);
  // Why there is too little room, in words; empty: there is enough, or no telling. Once there is too little a tenth
  // more has to be free, so that the two do not alternate.
  std::string look();
  // What the last look found.
  bool is_short() const;
  std::optional<DiskSpace> last() const;

 private:
  const uint64_t keep_free_;
  mutable std::mutex mutex_;
  std::string folder_;
  const Look look_;
  std::optional<DiskSpace> last_;
  bool short_ = false;
};

// Bytes that all files below a folder take on the disk, each once. What cannot be read counts nothing.
uint64_t folder_bytes(const std::string& folder);

}  // namespace galleon
