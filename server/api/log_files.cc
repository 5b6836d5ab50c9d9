#include "server/api/log_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon::server {

namespace {

constexpr uint64_t kLongestTail = 1 << 20;

}  // namespace

std::string LogFiles::path(const Key& key, absl::string_view suffix) const {
  return absl::StrCat(folder_, "/", key.job_id, "/", key.attempt, "/", key.rank, suffix);
}

absl::StatusOr<uint64_t> LogFiles::append(const Key& key, uint64_t offset, absl::string_view data,
                                          bool all_sent) const {
  const std::string name = path(key, ".log");
  FileDescriptor file(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid() && errno == ENOENT) {
    RETURN_IF_ERROR(make_folders(std::filesystem::path(name).parent_path().string()));
    file = FileDescriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!file.valid()) return errno_status("cannot open", name, errno);
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) return errno_status("cannot read", name, errno);
  const uint64_t stored = static_cast<uint64_t>(end);
  if (offset > stored) return stored;
  const uint64_t doubled = stored - offset;
  if (doubled < data.size()) {
    data.remove_prefix(doubled);
    RETURN_IF_ERROR(write_all(file.get(), data));
    if (::fdatasync(file.get()) != 0) return errno_status("cannot flush", name, errno);
    offset = stored;
  } else {
    data = {};
    offset = stored;
  }
  if (all_sent && !complete(key)) {
    RETURN_IF_ERROR(write_file_durably(path(key, ".complete"), ""));
  }
  return offset + data.size();
}

absl::StatusOr<std::string> LogFiles::read(const Key& key, uint64_t offset, size_t limit) const {
  const std::string name = path(key, ".log");
  FileDescriptor file(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid())
    return errno == ENOENT ? absl::StatusOr<std::string>("") : errno_status("cannot open", name, errno);
  std::string data(limit, '\0');
  ssize_t n = 0;
  do {
    n = ::pread(file.get(), data.data(), data.size(), static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno_status("cannot read", name, errno);
  data.resize(static_cast<size_t>(n));
  return data;
}

uint64_t LogFiles::size(const Key& key) const {
  struct stat info {};
  return ::stat(path(key, ".log").c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

absl::StatusOr<uint64_t> LogFiles::tail(const Key& key, uint32_t lines) const {
  const uint64_t end = size(key);
  const uint64_t first = end - std::min(end, kLongestTail);
  ASSIGN_OR_RETURN(const std::string text, read(key, first, kLongestTail));
  // The end of the last line begins no other.
  size_t at = text.size() - (absl::EndsWith(text, "\n") ? 1 : 0);
  for (; lines > 0; --lines) {
    const size_t before = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
    if (before == std::string::npos) return first;
    at = before;
  }
  return first + at + 1;
}

bool LogFiles::complete(const Key& key) const {
  return ::access(path(key, ".complete").c_str(), F_OK) == 0;
}

void LogFiles::remove(const std::string& job_id) const {
  std::error_code ignored;
  std::filesystem::remove_all(absl::StrCat(folder_, "/", job_id), ignored);
}

}  // namespace galleon::server
