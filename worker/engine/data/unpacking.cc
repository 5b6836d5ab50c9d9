#include "worker/engine/data/unpacking.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr size_t kPackedBytes = 1 << 18;
constexpr int kLargestWindowLog = 31;
constexpr uint64_t kMostXzMemory = uint64_t{2} << 30;

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
    ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, kLargestWindowLog);
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
      if (ZSTD_isError(result)) return refused(result);
      // At the end of the file what is still held back may come out, and nothing else.
      if (!more && output.pos == 0) return input_.damaged("zstd data ends too early; the file is truncated");
      input_.used += input.pos;
      expected_ = result;
    }
    taken_ = 0;
    ready_ = output.pos;
    return absl::OkStatus();
  }

  absl::Status refused(size_t result) const {
    if (ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge)
      return input_.damaged("the window of the zstd data is too large; up to 2 GiB is read (--long=31)");
    return input_.damaged(absl::StrCat("zstd data is damaged (", ZSTD_getErrorName(result), ")"));
  }

  PackedInput input_;
  ZSTD_DStream* state_;
  std::vector<char> text_;
  size_t taken_ = 0;
  size_t ready_ = 0;
  size_t expected_ = 1;  // 0: a frame has just ended
};

// All streams of the file, one behind the other.
class Bzip2Stream final : public InputStream {
 public:
  explicit Bzip2Stream(PackedInput input) : input_(std::move(input)) {}
  ~Bzip2Stream() override { BZ2_bzDecompressEnd(&state_); }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    size = std::min<size_t>(size, 1 << 30);
    state_.next_out = out;
    state_.avail_out = static_cast<unsigned>(size);
    while (state_.avail_out > 0) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      if (!more && !inside_) break;
      if (!more) return input_.damaged("bzip2 data ends too early; the file is truncated");
      if (!inside_ && BZ2_bzDecompressInit(&state_, 0, 0) != BZ_OK) return input_.damaged("cannot start to decompress");
      inside_ = true;
      state_.next_in = const_cast<char*>(input_.next());
      state_.avail_in = static_cast<unsigned>(input_.size - input_.used);
      const int result = BZ2_bzDecompress(&state_);
      input_.used = input_.size - state_.avail_in;
      if (result == BZ_STREAM_END) {
        BZ2_bzDecompressEnd(&state_);
        inside_ = false;
      } else if (result != BZ_OK) {
        return input_.damaged("bzip2 data is damaged");
      }
    }
    return size - state_.avail_out;
  }
  int64_t position() const override { return input_.position(); }

 private:
  PackedInput input_;
  bz_stream state_{};
  bool inside_ = false;  // a stream
};

// All streams of the file and the padding between them.
class XzStream final : public InputStream {
 public:
  explicit XzStream(PackedInput input) : input_(std::move(input)) {}
  ~XzStream() override { lzma_end(&state_); }
  absl::Status start() {
    if (lzma_stream_decoder(&state_, kMostXzMemory, LZMA_CONCATENATED) != LZMA_OK)
      return input_.damaged("cannot start to decompress");
    return absl::OkStatus();
  }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    state_.next_out = reinterpret_cast<uint8_t*>(out);
    state_.avail_out = size;
    while (state_.avail_out > 0 && !ended_) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      state_.next_in = reinterpret_cast<const uint8_t*>(input_.next());
      state_.avail_in = input_.size - input_.used;
      const lzma_ret result = lzma_code(&state_, more ? LZMA_RUN : LZMA_FINISH);
      input_.used = input_.size - state_.avail_in;
      if (result == LZMA_STREAM_END) {
        ended_ = true;
      } else if (result != LZMA_OK) {
        return refused(result, more);
      }
    }
    return size - state_.avail_out;
  }
  int64_t position() const override { return input_.position(); }

 private:
  absl::Status refused(lzma_ret result, bool more) const {
    if (result == LZMA_MEMLIMIT_ERROR) return input_.damaged("the dictionary of the xz data needs more than 2 GiB");
    if (result == LZMA_BUF_ERROR && !more) return input_.damaged("xz data ends too early; the file is truncated");
    return input_.damaged("xz data is damaged");
  }

  PackedInput input_;
  lzma_stream state_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

}  // namespace

Packing packing_of(absl::string_view head) {
  if (absl::StartsWith(head, "\x1f\x8b")) return Packing::kGzip;
  if (absl::StartsWith(head, "\x28\xb5\x2f\xfd")) return Packing::kZstd;
  const bool skippable =
      head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xF0U) == 0x50U && head.substr(1, 3) == "\x2a\x4d\x18";
  if (skippable) return Packing::kSkippableZstd;
  if (absl::StartsWith(head, "BZh") && head.size() >= 10 && head[3] >= '1' && head[3] <= '9' &&
      (head.substr(4, 6) == "\x31\x41\x59\x26\x53\x59" || head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90"))
    return Packing::kBzip2;
  if (absl::StartsWith(head, absl::string_view("\xfd"
                                               "7zXZ\0",
                                               6)))
    return Packing::kXz;
  return Packing::kNone;
}

absl::StatusOr<std::unique_ptr<InputStream>> unpack(Packing packing, std::unique_ptr<InputStream> stream,
                                                    const std::string& path) {
  PackedInput input(std::move(stream), path);
  if (packing == Packing::kZstd || packing == Packing::kSkippableZstd)
    return std::make_unique<ZstdStream>(std::move(input));
  if (packing == Packing::kBzip2) return std::make_unique<Bzip2Stream>(std::move(input));
  if (packing == Packing::kXz) {
    auto result = std::make_unique<XzStream>(std::move(input));
    RETURN_IF_ERROR(result->start());
    return result;
  }
  auto result = std::make_unique<GzipStream>(std::move(input));
  RETURN_IF_ERROR(result->start());
  return result;
}

}  // namespace galleon
