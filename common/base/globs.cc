#include "common/base/globs.h"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostAlternatives = 4096;

bool exists(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found && !error;
}

// Where the brace that opens at `open` closes, its commas at this level into `commas`; npos: it does not, or there is
// no comma.
size_t closing_brace(const std::string& pattern, size_t open, std::vector<size_t>& commas) {
  int depth = 0;
  for (size_t i = open; i < pattern.size(); ++i) {
    if (pattern[i] == '\\') {
      ++i;
    } else if (pattern[i] == '{') {
      ++depth;
    } else if (pattern[i] == ',' && depth == 1) {
      commas.push_back(i);
    } else if (pattern[i] == '}' && --depth == 0) {
      return commas.empty() ? std::string::npos : i;
    }
  }
  return std::string::npos;
}

// The patterns without braces that one with braces stands for.
void expand_braces(const std::string& pattern, size_t from, std::vector<std::string>& out) {
  if (out.size() >= kMostAlternatives) return;
  for (size_t open = pattern.find('{', from); open != std::string::npos; open = pattern.find('{', open + 1)) {
    std::vector<size_t> commas;
    const size_t close = closing_brace(pattern, open, commas);
    if (close == std::string::npos) continue;
    commas.push_back(close);
    size_t begin = open + 1;
    for (const size_t end : commas) {
      expand_braces(
          absl::StrCat(pattern.substr(0, open), pattern.substr(begin, end - begin), pattern.substr(close + 1)), open,
          out);
      begin = end + 1;
    }
    return;
  }
  out.push_back(pattern);
}

std::string joined(const std::string& folder, const std::string& name) {
  return folder.empty() || folder.back() == '/' ? folder + name : absl::StrCat(folder, "/", name);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder.empty() ? "." : folder, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename().string());
  return names;
}

// Matches components from `at` on below `folder`, which has been matched.
void match(const std::string& folder, const std::vector<std::string>& components, size_t at,
           std::vector<std::string>& found) {
  if (at == components.size()) {
    if (exists(folder)) found.push_back(folder);
    return;
  }
  const std::string& component = components[at];
  const std::string literal = joined(folder, component);
  if (component == "**") {
    match(folder, components, at + 1, found);
    for (const std::string& name : names_in(folder)) {
      const std::string inner = joined(folder, name);
      std::error_code error;
      if (name[0] == '.') continue;
      if (fs::symlink_status(inner, error).type() == fs::file_type::directory) {
        match(inner, components, at, found);
      } else if (at + 1 == components.size()) {
        found.push_back(inner);
      }
    }
  } else if (component.find_first_of("*?[\\") == std::string::npos || exists(literal)) {
    match(literal, components, at + 1, found);
  } else {
    for (const std::string& name : names_in(folder))
      if (::fnmatch(component.c_str(), name.c_str(), FNM_PERIOD) == 0)
        match(joined(folder, name), components, at + 1, found);
  }
}

// The same of components of a path, from `at` and `name` on.
bool matches(const std::vector<std::string>& components, size_t at, const std::vector<std::string>& names,
             size_t name) {
  if (at == components.size()) return name == names.size();
  if (components[at] == "**") {
    if (at + 1 == components.size()) {
      return std::all_of(names.begin() + static_cast<std::ptrdiff_t>(name), names.end(),
                         [](const std::string& one) { return one[0] != '.'; });
    }
    for (size_t next = name;; ++next) {
      if (matches(components, at + 1, names, next)) return true;
      if (next == names.size() || names[next][0] == '.') return false;
    }
  }
  return name < names.size() && ::fnmatch(components[at].c_str(), names[name].c_str(), FNM_PERIOD) == 0 &&
         matches(components, at + 1, names, name + 1);
}

}  // namespace

bool has_glob(const std::string& pattern) {
  return pattern.find_first_of("*?[{") != std::string::npos;
}

std::vector<std::string> glob_paths(const std::string& pattern) {
  if (exists(pattern)) return {pattern};
  std::vector<std::string> patterns;
  expand_braces(pattern, 0, patterns);
  std::vector<std::string> found;
  for (const std::string& one : patterns) {
    std::vector<std::string> components = absl::StrSplit(one, '/', absl::SkipEmpty());
    match(one[0] == '/' ? "/" : "", components, 0, found);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

bool matches_glob(const std::string& pattern, const std::string& path) {
  std::vector<std::string> patterns;
  expand_braces(pattern, 0, patterns);
  const std::vector<std::string> names = absl::StrSplit(path, '/', absl::SkipEmpty());
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& one) {
    return matches(absl::StrSplit(one, '/', absl::SkipEmpty()), 0, names, 0);
  });
}

}  // namespace galleon
