#include "server/core/job_paths.h"

#include <algorithm>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace galleon::server {

namespace {

// The path without what means nothing in it; empty: it leads upwards, or begins at the root.
std::string plain_path(const std::string& path) {
  if (absl::StartsWith(path, "/")) return "";
  std::vector<std::string> words = absl::StrSplit(path, '/');
  std::erase_if(words, [](const std::string& word) { return word.empty() || word == "."; });
  return std::find(words.begin(), words.end(), "..") == words.end() ? absl::StrJoin(words, "/") : "";
}

}  // namespace

std::string checkpoints_of(const v1::Job& job) {
  return plain_path(job.checkpoint().directory().empty() ? "checkpoints" : job.checkpoint().directory());
}

std::vector<std::string> read_paths(const v1::Job& job) {
  std::vector<std::string> paths = {job.model().source(), job.tokenizer(), job.data().chat_template(),
                                    job.checkpoint().resume()};
  paths.insert(paths.end(), job.data().train().begin(), job.data().train().end());
  paths.insert(paths.end(), job.data().validation().begin(), job.data().validation().end());
  return paths;
}

std::string first_below(const std::string& path, const std::string& folder) {
  const std::string start = absl::StrCat(folder, "/");
  if (folder.empty() || !absl::StartsWith(path, start)) return "";
  const std::string below = plain_path(path.substr(start.size()));
  return below.substr(0, below.find('/'));
}

bool lies_below(const std::string& path, const std::string& folder) {
  const std::string start = absl::StrCat(folder, "/");
  return absl::StartsWith(path, start) && !plain_path(path.substr(start.size())).empty();
}

}  // namespace galleon::server
