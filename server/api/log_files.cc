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
#include "server/api/log_gap.h"

namespace galleon::server {

namespace {

constexpr uint64_t kLongestTail = 1 << 20;

}  // namespace

std::string LogFiles::path(const Key& key, absl::string_view suffix) const {
  return absl::StrCat(folder_, "/", key.job_id, "/", key.attempt, "/", key.rank, suffix);
}

namespace {

absl::Status write_flushed(const FileDescriptor& file, const std::string& name, absl::string_view data) {
  RETURN_IF_ERROR(write_all(file.get(), data));
  return ::fdatasync(file.get()) == 0 ? absl::OkStatus() : errno_status("cannot flush", name, errno);
}

// A log while something is added to it.
class OpenLog {
 public:
  OpenLog(FileDescriptor file, std::string name, std::string gap_name)
      : file_(std::move(file)), name_(std::move(name)), gap_name_(std::move(gap_name)) {}

  absl::Status look() {
    ASSIGN_OR_RETURN(gap_, read_log_gap(gap_name_));
    const off_t end = ::lseek(file_.get(), 0, SEEK_END);
    if (end < 0) return errno_status("cannot read", name_, errno);
    size_ = static_cast<uint64_t>(end);
    if (size_ >= gap_.file) return absl::OkStatus();
    // A crash came between what was noted and our line.
    const uint64_t begin = gap_.file - std::min<uint64_t>(gap_.file, gap_.line.size());
    if (::ftruncate(file_.get(), static_cast<off_t>(begin)) != 0) return errno_status("cannot write", name_, errno);
    if (::lseek(file_.get(), 0, SEEK_END) < 0) return errno_status("cannot read", name_, errno);
    RETURN_IF_ERROR(write_flushed(file_, name_, gap_.line));
    size_ = gap_.file;
    return absl::OkStatus();
  }

  uint64_t size() const { return size_; }
  uint64_t position() const { return gap_.position_of(size_); }
  bool leaves_out() const { return gap_.dropped_bytes > 0; }

  absl::Status keep(absl::string_view data) {
    if (leaves_out()) RETURN_IF_ERROR(end_gap());
    RETURN_IF_ERROR(write_flushed(file_, name_, data));
    size_ += data.size();
    return absl::OkStatus();
  }

  absl::Status leave_out(absl::string_view data, const std::string& why) {
    LogGap next = gap_;
    next.position = position() + data.size();
    next.dropped_bytes += data.size();
    next.dropped_lines += static_cast<uint64_t>(std::count(data.begin(), data.end(), '\n'));
    if (!leaves_out()) return note(next, absl::StrCat("\n[galleon-scheduler: what follows is not kept: ", why, "]\n"));
    next.file = size_;
    next.line.clear();
    RETURN_IF_ERROR(write_log_gap(gap_name_, next));
    gap_ = next;
    return absl::OkStatus();
  }

  absl::Status end_gap() {
    LogGap next = gap_;
    next.position = position();
    next.dropped_bytes = next.dropped_lines = 0;
    return note(next, absl::StrCat("[galleon-scheduler: ", gap_.dropped_lines, " lines of ", gap_.dropped_bytes,
                                   " bytes of this log were not kept here]\n"));
  }

 private:
  absl::Status note(LogGap next, std::string line) {
    next.file = size_ + line.size();
    next.line = std::move(line);
    RETURN_IF_ERROR(write_log_gap(gap_name_, next));
    gap_ = std::move(next);
    RETURN_IF_ERROR(write_flushed(file_, name_, gap_.line));
    size_ = gap_.file;
    return absl::OkStatus();
  }

  FileDescriptor file_;
  const std::string name_;
  const std::string gap_name_;
  LogGap gap_;
  uint64_t size_ = 0;
};

}  // namespace

absl::StatusOr<LogFiles::Appended> LogFiles::append(const Key& key, uint64_t offset, absl::string_view data,
                                                    bool all_sent, const std::string& refused) const {
  const std::string name = path(key, ".log");
  FileDescriptor file(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid() && errno == ENOENT) {
    RETURN_IF_ERROR(make_folders(std::filesystem::path(name).parent_path().string()));
    file = FileDescriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!file.valid()) return errno_status("cannot open", name, errno);
  OpenLog log(std::move(file), name, path(key, ".gap"));
  RETURN_IF_ERROR(log.look());
  const uint64_t before = log.size();
  if (offset > log.position()) return Appended{log.position(), 0};
  const uint64_t doubled = log.position() - offset;
  data.remove_prefix(std::min<uint64_t>(doubled, data.size()));
  if (!data.empty()) RETURN_IF_ERROR(refused.empty() ? log.keep(data) : log.leave_out(data, refused));
  if (all_sent && !complete(key)) {
    if (log.leaves_out()) RETURN_IF_ERROR(log.end_gap());
    RETURN_IF_ERROR(write_file_durably(path(key, ".complete"), ""));
  }
  return Appended{log.position(), log.size() - before};
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

uint64_t LogFiles::size_of_job(const std::string& job_id) const {
  std::error_code error;
  uint64_t bytes = 0;
  std::filesystem::recursive_directory_iterator entries(absl::StrCat(folder_, "/", job_id), error);
  for (; !error && entries != std::filesystem::recursive_directory_iterator(); entries.increment(error)) {
    std::error_code none;
    if (entries->path().extension() != ".log") continue;
    if (const uintmax_t size = entries->file_size(none); !none) bytes += size;
  }
  return bytes;
}

void LogFiles::remove(const std::string& job_id) const {
  std::error_code ignored;
  std::filesystem::remove_all(absl::StrCat(folder_, "/", job_id), ignored);
}

}  // namespace galleon::server
