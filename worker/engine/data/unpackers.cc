#include "worker/engine/data/unpackers.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr size_t kPackedBytes = 1 << 18;

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
    // As zstd --long=31 writes them; memory is taken only as a frame's own window wants it.
    ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, 31);
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

class Bzip2Stream final : public InputStream {
 public:
  explicit Bzip2Stream(PackedInput input) : input_(std::move(input)) {}
  ~Bzip2Stream() override { BZ2_bzDecompressEnd(&state_); }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    size = std::min<size_t>(size, 1 << 30);
    size_t done = 0;
    while (done < size) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      if (!more && between_) break;
      if (between_) {
        BZ2_bzDecompressEnd(&state_);
        state_ = {};
        if (BZ2_bzDecompressInit(&state_, 0, 0) != BZ_OK) return input_.damaged("cannot start to decompress");
        between_ = false;
      }
      state_.next_in = const_cast<char*>(input_.next());
      state_.avail_in = static_cast<unsigned>(input_.size - input_.used);
      state_.next_out = out + done;
      state_.avail_out = static_cast<unsigned>(size - done);
      const int result = BZ2_bzDecompress(&state_);
      if (result != BZ_OK && result != BZ_STREAM_END) return input_.damaged("bzip2 data is damaged");
      const size_t before = done;
      input_.used = input_.size - state_.avail_in;
      done = size - state_.avail_out;
      between_ = result == BZ_STREAM_END;
      if (!more && done == before && !between_)
        return input_.damaged("bzip2 data ends too early; the file is truncated");
    }
    return done;
  }
  int64_t position() const override { return input_.position(); }

 private:
  PackedInput input_;
  bz_stream state_{};
  bool between_ = true;  // streams, of which a file may have several
};

class XzStream final : public InputStream {
 public:
  explicit XzStream(PackedInput input) : input_(std::move(input)) {}
  ~XzStream() override { lzma_end(&state_); }
  absl::Status start() {
    if (lzma_stream_decoder(&state_, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK)
      return input_.damaged("cannot start to decompress");
    return absl::OkStatus();
  }
  absl::StatusOr<size_t> read(char* out, size_t size) override {
    size_t done = 0;
    while (done < size && !ended_) {
      ASSIGN_OR_RETURN(bool more, input_.fill());
      state_.next_in = reinterpret_cast<const uint8_t*>(input_.next());
      state_.avail_in = input_.size - input_.used;
      state_.next_out = reinterpret_cast<uint8_t*>(out + done);
      state_.avail_out = size - done;
      const lzma_ret result = lzma_code(&state_, more ? LZMA_RUN : LZMA_FINISH);
      input_.used = input_.size - state_.avail_in;
      done = size - state_.avail_out;
      ended_ = result == LZMA_STREAM_END;
      if (result == LZMA_BUF_ERROR && !more) return input_.damaged("xz data ends too early; the file is truncated");
      if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR)
        return input_.damaged("xz data is damaged");
    }
    return done;
  }
  int64_t position() const override { return input_.position(); }

 private:
  PackedInput input_;
  lzma_stream state_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

}  // namespace

Packing packing_of(absl::string_view first) {
  if (absl::StartsWith(first, "\x1f\x8b")) return Packing::kGzip;
  if (absl::StartsWith(first, "\x28\xb5\x2f\xfd")) return Packing::kZstd;
  // A frame that is skipped may stand before those with data.
  if (first.size() >= 4 && (first[0] & 0xF0) == 0x50 && first.substr(1, 3) == "\x2a\x4d\x18") return Packing::kZstd;
  if (first.size() >= 4 && absl::StartsWith(first, "BZh") && first[3] >= '1' && first[3] <= '9') return Packing::kBzip2;
  if (absl::StartsWith(first, absl::string_view("\xfd"
                                                "7zXZ\0",
                                                6)))
    return Packing::kXz;
  return Packing::kNone;
}

absl::StatusOr<std::unique_ptr<InputStream>> unpack(Packing packing, std::unique_ptr<InputStream> stream,
                                                    const std::string& path) {
  if (packing == Packing::kNone) return stream;
  PackedInput input(std::move(stream), path);
  switch (packing) {
    case Packing::kGzip: {
      auto result = std::make_unique<GzipStream>(std::move(input));
      RETURN_IF_ERROR(result->start());
      return result;
    }
    case Packing::kXz: {
      auto result = std::make_unique<XzStream>(std::move(input));
      RETURN_IF_ERROR(result->start());
      return result;
    }
    case Packing::kBzip2:
      return std::make_unique<Bzip2Stream>(std::move(input));
    default:
      return std::make_unique<ZstdStream>(std::move(input));
  }
}

}  // namespace galleon
