#include "worker/engine/data/byte_ranges.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/storage/object_store.h"

namespace galleon {

namespace {

class FileRanges final : public ByteRanges {
 public:
  FileRanges(FileDescriptor file, int64_t size, std::string path)
      : file_(std::move(file)), size_(size), path_(std::move(path)) {}
  int64_t size() const override { return size_; }
  absl::StatusOr<int64_t> read_at(int64_t offset, char* out, int64_t size) override {
    while (true) {
      const ssize_t n = ::pread(file_.get(), out, static_cast<size_t>(size), offset);
      if (n >= 0) return n;
      if (errno != EINTR) return errno_status("cannot read", path_, errno);
    }
  }

 private:
  FileDescriptor file_;
  int64_t size_;
  std::string path_;
};

class ObjectRanges final : public ByteRanges {
 public:
  explicit ObjectRanges(std::unique_ptr<ObjectFile> object) : object_(std::move(object)) {}
  int64_t size() const override { return object_->size(); }
  absl::StatusOr<int64_t> read_at(int64_t offset, char* out, int64_t size) override {
    return object_->read_at(offset, out, size);
  }

 private:
  std::unique_ptr<ObjectFile> object_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteRanges>> ByteRanges::open(const std::string& path) {
  if (is_address(path)) {
    ASSIGN_OR_RETURN(std::unique_ptr<ObjectFile> object, ObjectFile::open(path));
    return std::make_unique<ObjectRanges>(std::move(object));
  }
  ASSIGN_OR_RETURN(FileDescriptor file, open_to_read(path));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return errno_status("cannot open", path, errno);
  return std::make_unique<FileRanges>(std::move(file), info.st_size, path);
}

}  // namespace galleon
