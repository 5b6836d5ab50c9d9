#include "worker/engine/data/input_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/files.h"
#include "common/base/object_address.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/read_ahead.h"
#include "worker/engine/data/unpacking.h"
#include "worker/engine/storage/object_store.h"

namespace galleon {

namespace {

constexpr size_t kMagicBytes = 10;
// Of an object store: what is read before a thread reads ahead, in which pieces it does, and how many of them.
constexpr int64_t kObjectHead = 1 << 18;
constexpr size_t kObjectPiece = size_t{4} << 20;
constexpr size_t kObjectPiecesAhead = 4;

class FileStream final : public InputStream {
 public:
  FileStream(FileDescriptor file, std::string path) : file_(std::move(file)), path_(std::move(path)) {
    // Slow storage is asked early and in large pieces.
    ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    while (true) {
      const ssize_t n = ::read(file_.get(), out, size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_status("cannot read", path_, errno);
      position_ += n;
      return static_cast<size_t>(n);
    }
  }
  int64_t position() const override { return position_; }

 private:
  FileDescriptor file_;
  int64_t position_ = 0;
  std::string path_;
};

// An object of an object store.
class ObjectStream final : public InputStream {
 public:
  explicit ObjectStream(std::unique_ptr<ObjectFile> file) : file_(std::move(file)) {}
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    ASSIGN_OR_RETURN(int64_t n, file_->read_at(position_, out, static_cast<int64_t>(size)));
    position_ += n;
    return static_cast<size_t>(n);
  }
  int64_t position() const override { return position_; }

 private:
  std::unique_ptr<ObjectFile> file_;
  int64_t position_ = 0;
};

class MemoryStream final : public InputStream {
 public:
  explicit MemoryStream(absl::string_view bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    const size_t n = std::min(size, bytes_.size());
    if (n > 0) std::memcpy(out, bytes_.data(), n);
    bytes_.remove_prefix(n);
    position_ += static_cast<int64_t>(n);
    return n;
  }
  int64_t position() const override { return position_; }

 private:
  int64_t position_ = 0;
  absl::string_view bytes_;
};

// The first bytes of a stream, which were looked at, and then the rest of it.
class RejoinedStream final : public InputStream {
 public:
  RejoinedStream(std::string first, std::unique_ptr<InputStream> rest)
      : first_(std::move(first)), rest_(std::move(rest)) {}
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    if (taken_ == first_.size()) return rest_->read(out, size);
    const size_t n = std::min(size, first_.size() - taken_);
    std::memcpy(out, first_.data() + taken_, n);
    taken_ += n;
    return n;
  }
  int64_t position() const override { return rest_->position(); }

 private:
  std::string first_;
  size_t taken_ = 0;
  std::unique_ptr<InputStream> rest_;
};

// The first bytes of a stream, up to `size` of them.
absl::StatusOr<std::string> read_head(InputStream& stream, size_t size) {
  std::string head(size, '\0');
  size_t known = 0;
  while (known < size) {
    ASSIGN_OR_RETURN(size_t n, stream.read(head.data() + known, size - known));
    if (n == 0) break;
    known += n;
  }
  head.resize(known);
  return head;
}

absl::StatusOr<std::unique_ptr<InputStream>> open_packed(const std::string& path) {
  if (is_address(path)) {
    ASSIGN_OR_RETURN(std::unique_ptr<ObjectFile> object, ObjectFile::open(path));
    return std::make_unique<ObjectStream>(std::move(object));
  }
  ASSIGN_OR_RETURN(FileDescriptor file, open_to_read(path));
  return std::make_unique<FileStream>(std::move(file), path);
}

absl::StatusOr<std::unique_ptr<InputStream>> unpacked(std::unique_ptr<InputStream> stream, const std::string& path) {
  ASSIGN_OR_RETURN(std::string head, read_head(*stream, kMagicBytes));
  const Packing packing = packing_of(head);
  std::unique_ptr<InputStream> whole = std::make_unique<RejoinedStream>(std::move(head), std::move(stream));
  if (packing == Packing::kNone) return whole;
  return unpack(packing, std::move(whole), path);
}

}  // namespace

Packing packing_of_file(const std::string& path) {
  const absl::StatusOr<std::string> first = first_bytes(path, kMagicBytes);
  return first.ok() ? packing_of(*first) : Packing::kNone;
}

bool is_compressed(const std::string& path) {
  return packing_of_file(path) != Packing::kNone;
}

absl::StatusOr<std::string> first_bytes(const std::string& path, size_t size) {
  ASSIGN_OR_RETURN(const std::unique_ptr<InputStream> stream, open_packed(path));
  return read_head(*stream, size);
}

absl::StatusOr<std::unique_ptr<InputStream>> open_input(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<InputStream> stream, open_packed(path));
  if (is_address(path)) stream = read_ahead(std::move(stream), kObjectPiece, kObjectPiecesAhead, kObjectHead);
  return unpacked(std::move(stream), path);
}

absl::StatusOr<std::unique_ptr<InputStream>> open_input_bytes(absl::string_view bytes, const std::string& name) {
  return unpacked(std::make_unique<MemoryStream>(bytes), name);
}

}  // namespace galleon
