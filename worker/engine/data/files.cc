#include "worker/engine/data/files.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/globs.h"
#include "common/base/object_address.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/input_stream.h"
#include "worker/engine/storage/object_store.h"

namespace galleon {

namespace {

absl::StatusOr<std::vector<std::string>> files_of(const std::string& pattern) {
  std::vector<std::string> files;
  if (is_address(pattern)) {
    ASSIGN_OR_RETURN(const std::vector<StoredObject> objects, glob_objects(pattern));
    for (const StoredObject& object : objects) files.push_back(object.address);
    return files;
  }
  for (const std::string& path : glob_paths(pattern)) {
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) files.push_back(path);
  }
  return files;
}

std::string why_no_file(const std::string& pattern) {
  std::error_code error;
  const std::filesystem::file_status found = std::filesystem::status(pattern, error);
  if (std::filesystem::is_directory(found))
    return absl::StrCat(pattern, " is a folder; ", pattern, "/* names its files");
  if (std::filesystem::exists(found)) return absl::StrCat(pattern, " is no plain file");
  if (absl::StartsWith(pattern, "~")) return absl::StrCat("no file matches ", pattern, "; ~ is the shell's");
  return absl::StrCat("no file matches ", pattern);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> expand_globs(const std::vector<std::string>& globs, const std::string& key) {
  std::vector<std::string> all;
  for (const std::string& pattern : globs) {
    absl::StatusOr<std::vector<std::string>> files = files_of(pattern);
    if (!files.ok()) return absl::Status(files.status().code(), absl::StrCat(key, ": ", files.status().message()));
    if (files->empty()) return absl::NotFoundError(absl::StrCat(key, ": ", why_no_file(pattern)));
    all.insert(all.end(), files->begin(), files->end());
  }
  return all;
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
