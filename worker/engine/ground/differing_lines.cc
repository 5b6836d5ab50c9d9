#include "worker/engine/ground/differing_lines.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

std::map<std::string, std::string> lines_of(const std::string& text) {
  std::map<std::string, std::string> lines;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const size_t colon = line.find(": ");
    if (colon == absl::string_view::npos) continue;
    lines[std::string(line.substr(0, colon))] = std::string(line.substr(colon + 2));
  }
  return lines;
}

}  // namespace

std::string differing_lines(const std::string& one, const std::string& two, const std::string& in_one,
                            const std::string& in_two) {
  const std::map<std::string, std::string> before = lines_of(one);
  const std::map<std::string, std::string> after = lines_of(two);
  std::vector<std::string> differences;
  for (const auto& [key, value] : before) {
    const auto it = after.find(key);
    if (it == after.end()) {
      differences.push_back(absl::StrCat(key, " (", value, " ", in_one, ", unset ", in_two, ")"));
    } else if (it->second != value) {
      differences.push_back(absl::StrCat(key, " (", value, " ", in_one, ", ", it->second, " ", in_two, ")"));
    }
  }
  for (const auto& [key, value] : after) {
    if (!before.contains(key))
      differences.push_back(absl::StrCat(key, " (unset ", in_one, ", ", value, " ", in_two, ")"));
  }
  return absl::StrJoin(differences, ", ");
}

}  // namespace galleon
