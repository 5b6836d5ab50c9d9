// Files with durability spelled out. Errors name the path and the system's reason.
#pragma once

#include <cstdint>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon {

// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Status for `errno` after `what` failed on `path`: NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk or quota
// full), …
absl::Status errno_status(absl::string_view what, absl::string_view path, int error);

absl::StatusOr<std::string> read_file(const std::string& path);
// The last `bytes` of a file at most.
absl::StatusOr<std::string> read_file_tail(const std::string& path, uint64_t bytes);
// Writes beside the target, flushes to the disk, renames over it and flushes the folder: a crash leaves the old or the
// new file.
absl::Status write_file_durably(const std::string& path, absl::string_view content);
// The same without the flushes: whole for readers, not for a power cut.
absl::Status write_file_atomically(const std::string& path, absl::string_view content);
// Flushes a folder's entries to the disk.
absl::Status sync_folder(const std::string& path);
absl::Status make_folders(const std::string& path);
// Writes all of `data`, going on after interrupts.
absl::Status write_all(int fd, absl::string_view data);

}  // namespace galleon
