#include "worker/engine/data/files.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/globs.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/input_stream.h"

namespace galleon {

absl::StatusOr<std::vector<std::string>> expand_globs(const std::vector<std::string>& globs, const std::string& key) {
  std::vector<std::string> files;
  for (const std::string& pattern : globs) {
    absl::StatusOr<std::vector<std::string>> found = matching_files(pattern);
    if (!found.ok())
      return absl::Status(found.status().code(), absl::StrCat(key, ": ", pattern, ": ", found.status().message()));
    std::error_code error;
    if (found->empty() && std::filesystem::is_directory(pattern, error)) {
      return absl::NotFoundError(absl::StrCat(key, ": ", pattern, " is a folder; name its files, such as ",
                                              (std::filesystem::path(pattern) / "**").string()));
    }
    if (found->empty()) return absl::NotFoundError(absl::StrCat(key, ": no file matches ", pattern));
    files.insert(files.end(), found->begin(), found->end());
  }
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
