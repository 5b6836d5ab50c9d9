#include "common/base/globs.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kAnyDepth = "**/";

// Where a component `**` begins; npos: nowhere.
size_t any_depth(absl::string_view pattern) {
  for (size_t at = pattern.find(kAnyDepth); at != absl::string_view::npos; at = pattern.find(kAnyDepth, at + 1)) {
    if (at == 0 || pattern[at - 1] == '/') return at;
  }
  return absl::string_view::npos;
}

// A name as a pattern that matches it alone.
std::string escaped(absl::string_view name) {
  std::string pattern;
  for (const char c : name) {
    if (absl::string_view("*?[]{},~\\").find(c) != absl::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

std::vector<std::string> glob_paths(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

// The folder and all below it.
absl::Status add_folders(const fs::path& folder, std::vector<fs::path>& folders) {
  folders.push_back(folder);
  std::error_code error;
  for (fs::directory_iterator it(folder.empty() ? "." : folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code unknown;
    if (absl::StartsWith(name, ".") || it->is_symlink(unknown) || !it->is_directory(unknown)) continue;
    RETURN_IF_ERROR(add_folders(folder / name, folders));
  }
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot read the folder ", folder.string()));
}

// Those of a pattern that may have `**` components.
absl::Status add_matches(const std::string& pattern, std::vector<std::string>& paths) {
  const size_t at = any_depth(pattern);
  if (at == std::string::npos) {
    const std::vector<std::string> found = glob_paths(pattern);
    paths.insert(paths.end(), found.begin(), found.end());
    return absl::OkStatus();
  }
  const std::string rest = pattern.substr(at + kAnyDepth.size());
  const std::vector<std::string> starts = at == 0 ? std::vector<std::string>{""} : glob_paths(pattern.substr(0, at));
  for (const std::string& start : starts) {
    std::error_code error;
    if (!start.empty() && !fs::is_directory(start, error)) continue;
    std::vector<fs::path> folders;
    RETURN_IF_ERROR(add_folders(start, folders));
    for (const fs::path& folder : folders) {
      RETURN_IF_ERROR(add_matches(folder.empty() ? rest : escaped((folder / "").string()) + rest, paths));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> matching_files(const std::string& pattern) {
  std::error_code error;
  if (fs::is_regular_file(pattern, error)) return std::vector<std::string>{pattern};
  std::vector<std::string> paths;
  // `**` at the end means every file below.
  const bool all = pattern == "**" || absl::EndsWith(pattern, "/**");
  RETURN_IF_ERROR(add_matches(all ? pattern + "/*" : pattern, paths));
  std::erase_if(paths, [](const std::string& path) {
    std::error_code unknown;
    return !fs::is_regular_file(path, unknown);
  });
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

std::string fixed_part(const std::string& pattern) {
  std::error_code error;
  const size_t wild = pattern.find_first_of("*?[{");
  if (wild == std::string::npos || fs::exists(pattern, error)) return pattern;
  const size_t slash = pattern.rfind('/', wild);
  return slash == std::string::npos ? "." : pattern.substr(0, slash + 1);
}

}  // namespace galleon
