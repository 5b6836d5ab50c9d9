#include "common/base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace galleon {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  reset();
}

int FileDescriptor::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

void FileDescriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

absl::Status errno_status(absl::string_view what, absl::string_view path, int error) {
  const std::string message = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case EEXIST:
    case ENOTEMPTY:
      return absl::AlreadyExistsError(message);
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EINVAL:
      return absl::InvalidArgumentError(message);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::string> read_file(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  std::string content;
  struct stat info {};
  if (fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode)) content.reserve(info.st_size);
  char buffer[1 << 16];
  while (true) {
    const ssize_t n = ::read(file.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot read", path, errno);
    if (n == 0) return content;
    content.append(buffer, n);
  }
}

absl::StatusOr<std::string> read_file_tail(const std::string& path, uint64_t bytes) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  const off_t start = size > static_cast<off_t>(bytes) ? size - static_cast<off_t>(bytes) : 0;
  std::string content(size - start, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::pread(file.get(), content.data() + done, content.size() - done, start + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot read", path, errno);
    if (n == 0) break;
    done += n;
  }
  content.resize(done);
  return content;
}

absl::Status write_all(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status("cannot write", absl::StrCat("descriptor ", fd), errno);
    data.remove_prefix(n);
  }
  return absl::OkStatus();
}

namespace {

absl::Status write_and_rename(const std::string& path, absl::string_view content, bool durable) {
  const std::string temporary = absl::StrCat(path, ".new-", ::getpid());
  {
    FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file.valid()) return errno_status("cannot create", temporary, errno);
    while (!content.empty()) {
      const ssize_t n = ::write(file.get(), content.data(), content.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        absl::Status status = errno_status("cannot write", path, errno);
        ::unlink(temporary.c_str());
        return status;
      }
      content.remove_prefix(n);
    }
    if (durable && ::fsync(file.get()) != 0) {
      absl::Status status = errno_status("cannot flush", path, errno);
      ::unlink(temporary.c_str());
      return status;
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    absl::Status status = errno_status("cannot rename to", path, errno);
    ::unlink(temporary.c_str());
    return status;
  }
  if (!durable) return absl::OkStatus();
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return sync_folder(folder.empty() ? "." : folder);
}

}  // namespace

absl::Status write_file_durably(const std::string& path, absl::string_view content) {
  return write_and_rename(path, content, true);
}

absl::Status write_file_atomically(const std::string& path, absl::string_view content) {
  return write_and_rename(path, content, false);
}

absl::Status sync_folder(const std::string& path) {
  FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return errno_status("cannot open", path, errno);
  if (::fsync(folder.get()) != 0) return errno_status("cannot flush", path, errno);
  return absl::OkStatus();
}

absl::Status make_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return errno_status("cannot create", path, error.value());
  return absl::OkStatus();
}

}  // namespace galleon
