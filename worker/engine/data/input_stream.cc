#include "worker/engine/data/input_stream.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr size_t kPackedBytes = 1 << 18;
constexpr size_t kMagicBytes = 4;

bool is_gzip(absl::string_view magic) {
  return absl::StartsWith(magic, "\x1f\x8b");
}
bool is_zstd(absl::string_view magic) {
  return absl::StartsWith(magic, "\x28\xb5\x2f\xfd");
}

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

// What a decompressor reads from: a buffer that is filled again when it is empty.
class PackedInput {
 public:
  PackedInput(std::unique_ptr<InputStream> stream, std::string path)
      : stream_(std::move(stream)), path_(std::move(path)), buffer_(kPackedBytes) {}
  // False at the end of the file.
  absl::StatusOr<bool> fill() {
    if (used < size) return true;
    ASSIGN_OR_RETURN(size_t n, stream_->read(buffer_.data(), buffer_.size()));
    used = 0;
    size = n;
    return size > 0;
  }
  int64_t position() const { return stream_->position(); }
  const char* next() const { return buffer_.data() + used; }
  absl::Status damaged(absl::string_view what) const { return absl::DataLossError(absl::StrCat(path_, ": ", what)); }

  size_t used = 0;
  size_t size = 0;

 private:
  std::unique_ptr<InputStream> stream_;
  std::string path_;
  std::vector<char> buffer_;
};

class GzipStream final : public InputStream {
 public:
  explicit GzipStream(PackedInput input) : input_(std::move(input)) {}
  ~GzipStream() override { inflateEnd(&state_); }
  absl::Status start() {
    if (inflateInit2(&state_, 15 + 16) != Z_OK) return input_.damaged("cannot start to decompress");
    return absl::OkStatus();
  }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    size = std::min<size_t>(size, 1 << 30);
    size_t done = 0;
    while (done < size && !ended_) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      if (!more) {
        if (between_members_) {
          ended_ = true;
          break;
        }
        return input_.damaged("gzip data ends too early; the file is truncated");
      }
      if (between_members_) {
        // Padding with zeros after the last member is allowed (gzip(1)).
        if (*input_.next() == 0) {
          ++input_.used;
          continue;
        }
        if (inflateReset(&state_) != Z_OK) return input_.damaged("gzip data is damaged");
        between_members_ = false;
      }
      state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.next()));
      state_.avail_in = static_cast<uInt>(input_.size - input_.used);
      state_.next_out = reinterpret_cast<Bytef*>(out + done);
      state_.avail_out = static_cast<uInt>(size - done);
      const int result = inflate(&state_, Z_NO_FLUSH);
      input_.used = input_.size - state_.avail_in;
      done = size - state_.avail_out;
      if (result == Z_STREAM_END) {
        between_members_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return input_.damaged(
            absl::StrCat("gzip data is damaged", state_.msg != nullptr ? absl::StrCat(" (", state_.msg, ")") : ""));
      }
    }
    return done;
  }
  int64_t position() const override { return input_.position(); }

 private:
  PackedInput input_;
  z_stream state_{};
  bool between_members_ = false;
  bool ended_ = false;
};

// Unpacks into a buffer of its own, for libzstd judges a frame that fits into the output whole otherwise than the same
// frame in parts: what is an error must not depend on how much is asked for at a time.
class ZstdStream final : public InputStream {
 public:
  explicit ZstdStream(PackedInput input)
      : input_(std::move(input)), state_(ZSTD_createDStream()), text_(ZSTD_DStreamOutSize()) {
    ZSTD_initDStream(state_);
  }
  ~ZstdStream() override { ZSTD_freeDStream(state_); }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    if (taken_ == ready_) {
      RETURN_IF_ERROR(unpack());
    }
    const size_t n = std::min(size, ready_ - taken_);
    std::copy_n(text_.data() + taken_, n, out);
    taken_ += n;
    return n;
  }
  int64_t position() const override { return input_.position(); }

 private:
  // Fills text_, which stays empty at the end of the file alone.
  absl::Status unpack() {
    ZSTD_outBuffer output{text_.data(), text_.size(), 0};
    while (output.pos == 0) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      if (!more && expected_ == 0) break;
      ZSTD_inBuffer input{input_.next(), input_.size - input_.used, 0};
      const size_t result = ZSTD_decompressStream(state_, &output, &input);
      if (ZSTD_isError(result))
        return input_.damaged(absl::StrCat("zstd data is damaged (", ZSTD_getErrorName(result), ")"));
      // At the end of the file what is still held back may come out, and nothing else.
      if (!more && output.pos == 0) return input_.damaged("zstd data ends too early; the file is truncated");
      input_.used += input.pos;
      expected_ = result;
    }
    taken_ = 0;
    ready_ = output.pos;
    return absl::OkStatus();
  }

  PackedInput input_;
  ZSTD_DStream* state_;
  std::vector<char> text_;
  size_t taken_ = 0;
  size_t ready_ = 0;
  size_t expected_ = 1;  // 0: a frame has just ended
};

absl::StatusOr<std::unique_ptr<InputStream>> unpacked(std::unique_ptr<InputStream> stream, const std::string& path) {
  std::string magic(kMagicBytes, '\0');
  size_t known = 0;
  while (known < kMagicBytes) {
    ASSIGN_OR_RETURN(size_t n, stream->read(magic.data() + known, kMagicBytes - known));
    if (n == 0) break;
    known += n;
  }
  magic.resize(known);
  const bool gzip = is_gzip(magic);
  const bool zstd = is_zstd(magic);
  auto whole = std::make_unique<RejoinedStream>(std::move(magic), std::move(stream));
  if (gzip) {
    auto result = std::make_unique<GzipStream>(PackedInput(std::move(whole), path));
    RETURN_IF_ERROR(result->start());
    return result;
  }
  if (zstd) return std::make_unique<ZstdStream>(PackedInput(std::move(whole), path));
  return whole;
}

}  // namespace

bool is_compressed(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char first[kMagicBytes];
  const ssize_t n = file.valid() ? ::read(file.get(), first, sizeof(first)) : 0;
  const absl::string_view magic(first, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  return is_gzip(magic) || is_zstd(magic);
}

absl::StatusOr<std::unique_ptr<InputStream>> open_input(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return unpacked(std::make_unique<FileStream>(std::move(file), path), path);
}

absl::StatusOr<std::unique_ptr<InputStream>> open_input_bytes(absl::string_view bytes, const std::string& name) {
  return unpacked(std::make_unique<MemoryStream>(bytes), name);
}

}  // namespace galleon
