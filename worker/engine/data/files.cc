#include "worker/engine/data/files.h"

#include <filesystem>

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

}  // namespace

absl::StatusOr<std::vector<std::string>> expand_globs(const std::vector<std::string>& globs, const std::string& key) {
  std::vector<std::string> all;
  for (const std::string& pattern : globs) {
    absl::StatusOr<std::vector<std::string>> files = files_of(pattern);
    if (!files.ok()) return absl::Status(files.status().code(), absl::StrCat(key, ": ", files.status().message()));
    if (files->empty()) return absl::NotFoundError(absl::StrCat(key, ": no file matches ", pattern));
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
