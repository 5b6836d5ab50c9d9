#include "worker/engine/data/files.h"

#include <glob.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon {

absl::StatusOr<std::vector<std::string>> expand_globs(const std::vector<std::string>& globs, const std::string& key) {
  std::vector<std::string> files;
  for (const std::string& pattern : globs) {
    glob_t found{};
    const int result = ::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found);
    const size_t before = files.size();
    for (size_t i = 0; result == 0 && i < found.gl_pathc; ++i) {
      std::error_code error;
      if (std::filesystem::is_regular_file(found.gl_pathv[i], error)) files.emplace_back(found.gl_pathv[i]);
    }
    ::globfree(&found);
    if (files.size() == before) return absl::NotFoundError(absl::StrCat(key, ": no file matches ", pattern));
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

namespace {

absl::Status damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

// All members of a gzip file, one after the other.
absl::StatusOr<std::string> gunzip(const std::string& path, const std::string& packed) {
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return damaged(path, "cannot start to decompress");
  const absl::Cleanup end = [&] { inflateEnd(&stream); };
  std::string out;
  std::string buffer(1 << 18, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  size_t left = packed.size();
  int result = Z_OK;
  while (true) {
    if (stream.avail_in == 0) {
      const size_t chunk = std::min<size_t>(left, 1 << 30);
      stream.avail_in = static_cast<uInt>(chunk);
      left -= chunk;
    }
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0 && left == 0) return out;
      if (inflateReset(&stream) != Z_OK) return damaged(path, "gzip data is damaged");
      continue;
    }
    if (result == Z_BUF_ERROR && stream.avail_in == 0 && left == 0)
      return damaged(path, "gzip data ends too early; the file is truncated");
    if (result != Z_OK)
      return damaged(
          path, absl::StrCat("gzip data is damaged", stream.msg != nullptr ? absl::StrCat(" (", stream.msg, ")") : ""));
  }
}

absl::StatusOr<std::string> unzstd(const std::string& path, const std::string& packed) {
  ZSTD_DStream* stream = ZSTD_createDStream();
  const absl::Cleanup end = [&] { ZSTD_freeDStream(stream); };
  ZSTD_initDStream(stream);
  std::string out;
  std::string buffer(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer input{packed.data(), packed.size(), 0};
  size_t expected = 1;
  while (input.pos < input.size) {
    ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
    expected = ZSTD_decompressStream(stream, &output, &input);
    if (ZSTD_isError(expected))
      return damaged(path, absl::StrCat("zstd data is damaged (", ZSTD_getErrorName(expected), ")"));
    out.append(buffer.data(), output.pos);
  }
  while (expected != 0) {
    ZSTD_outBuffer output{buffer.data(), buffer.size(), 0};
    expected = ZSTD_decompressStream(stream, &output, &input);
    if (ZSTD_isError(expected)) return damaged(path, "zstd data is damaged");
    out.append(buffer.data(), output.pos);
    if (output.pos == 0 && expected != 0) return damaged(path, "zstd data ends too early; the file is truncated");
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> read_maybe_compressed(const std::string& path) {
  absl::StatusOr<std::string> content = read_file(path);
  if (!content.ok()) return content.status();
  if (absl::StartsWith(*content, "\x1f\x8b")) return gunzip(path, *content);
  if (absl::StartsWith(*content, "\x28\xb5\x2f\xfd")) return unzstd(path, *content);
  return content;
}

}  // namespace galleon
