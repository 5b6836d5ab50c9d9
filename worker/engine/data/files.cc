#include "worker/engine/data/files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/input_stream.h"

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

absl::StatusOr<std::string> read_maybe_compressed(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<InputStream> stream, open_input(path));
  std::string content;
  while (true) {
    constexpr size_t kPiece = 1 << 18;
    const size_t before = content.size();
    content.resize(before + kPiece);
    ASSIGN_OR_RETURN(size_t n, stream->read(content.data() + before, kPiece));
    content.resize(before + n);
    if (n == 0) return content;
  }
}

}  // namespace galleon
