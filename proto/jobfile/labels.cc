#include "proto/jobfile/labels.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

constexpr size_t kLongestName = 63;
constexpr size_t kLongestDomain = 253;

bool is_name(absl::string_view text) {
  return !text.empty() && text.size() <= kLongestName && absl::ascii_isalnum(text.front()) &&
         absl::ascii_isalnum(text.back()) && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
         });
}

bool is_domain(absl::string_view text) {
  if (text.empty() || text.size() > kLongestDomain) return false;
  for (const absl::string_view part : absl::StrSplit(text, '.')) {
    const bool good = !part.empty() && part.front() != '-' && part.back() != '-' &&
                      std::all_of(part.begin(), part.end(),
                                  [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
    if (!good) return false;
  }
  return true;
}

}  // namespace

std::string label_key_fault(absl::string_view key) {
  const size_t slash = key.find('/');
  const bool good = slash == absl::string_view::npos
                        ? is_name(key)
                        : is_domain(key.substr(0, slash)) && is_name(key.substr(slash + 1));
  if (good) return "";
  return absl::StrCat(
      "\"", key.substr(0, 80), "\" is no key of a label; 1 to ", kLongestName,
      " letters, digits, '-', '_' and '.', the first and the last a letter or a digit, behind a domain such ",
      "as example.org/ or not");
}

std::string label_value_fault(absl::string_view value) {
  if (value.empty() || is_name(value)) return "";
  return absl::StrCat("\"", value.substr(0, 80), "\" is no value of a label; up to ", kLongestName,
                      " letters, digits, '-', '_' and '.', the first and the last a letter or a digit");
}

}  // namespace galleon
