#include "client/node_list.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

// No cluster has more, and a range that has is a mistake.
constexpr size_t kMostNodes = 1 << 20;
constexpr size_t kMostDigits = 9;

absl::Status unreadable(absl::string_view list, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("\"", list, "\" is no list as Slurm writes them: ", why));
}

bool all_digits(absl::string_view text) {
  return !text.empty() && text.size() <= kMostDigits && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c));
  });
}

// "01-03,7": 01, 02, 03, 7. As many digits as the first number of a range has stay, with zeros.
absl::StatusOr<std::vector<std::string>> expand_ranges(absl::string_view list, absl::string_view ranges) {
  std::vector<std::string> numbers;
  for (const absl::string_view range : absl::StrSplit(ranges, ',')) {
    const size_t dash = range.find('-');
    const absl::string_view low = range.substr(0, dash);
    const absl::string_view high = dash == absl::string_view::npos ? low : range.substr(dash + 1);
    if (!all_digits(low) || !all_digits(high))
      return unreadable(list, absl::StrCat("\"", range, "\" in brackets is no number and no range of two"));
    int64_t first = 0;
    int64_t last = 0;
    (void)absl::SimpleAtoi(low, &first);
    (void)absl::SimpleAtoi(high, &last);
    if (last < first) return unreadable(list, absl::StrCat("the range ", range, " runs backwards"));
    if (static_cast<size_t>(last - first) >= kMostNodes) return unreadable(list, "it has too many nodes");
    for (int64_t number = first; number <= last; ++number) {
      std::string digits = absl::StrCat(number);
      if (digits.size() < low.size()) digits.insert(0, low.size() - digits.size(), '0');
      numbers.push_back(std::move(digits));
    }
  }
  return numbers;
}

// Entries are parted by the commas outside of brackets.
absl::StatusOr<std::vector<absl::string_view>> entries_of(absl::string_view list) {
  std::vector<absl::string_view> entries;
  size_t begin = 0;
  bool inside = false;
  for (size_t i = 0; i <= list.size(); ++i) {
    const char c = i < list.size() ? list[i] : ',';
    if ((c == '[' && inside) || (c == ']' && !inside) || (i == list.size() && inside))
      return unreadable(list, "its brackets do not match");
    if (c == '[') inside = true;
    if (c == ']') inside = false;
    if (c != ',' || inside) continue;
    if (i == begin) return unreadable(list, "it has an entry without a name");
    entries.push_back(list.substr(begin, i - begin));
    begin = i + 1;
  }
  return entries;
}

bool in_name(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
}

absl::StatusOr<std::vector<std::string>> expand_entry(absl::string_view list, absl::string_view entry) {
  std::vector<std::string> names{""};
  while (!entry.empty()) {
    const size_t open = std::min(entry.find('['), entry.size());
    if (!std::all_of(entry.begin(), entry.begin() + static_cast<ptrdiff_t>(open), in_name))
      return unreadable(list, absl::StrCat("\"", entry.substr(0, open), "\" is no name of a node"));
    for (std::string& name : names) absl::StrAppend(&name, entry.substr(0, open));
    entry.remove_prefix(open);
    if (entry.empty()) break;
    const size_t close = entry.find(']');
    ASSIGN_OR_RETURN(const std::vector<std::string> numbers, expand_ranges(list, entry.substr(1, close - 1)));
    if (names.size() * numbers.size() > kMostNodes) return unreadable(list, "it has too many nodes");
    std::vector<std::string> longer;
    for (const std::string& name : names) {
      for (const std::string& number : numbers) longer.push_back(name + number);
    }
    names = std::move(longer);
    entry.remove_prefix(close + 1);
  }
  return names;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> expand_node_list(absl::string_view list) {
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(const std::vector<absl::string_view> entries, entries_of(list));
  for (const absl::string_view entry : entries) {
    ASSIGN_OR_RETURN(std::vector<std::string> some, expand_entry(list, entry));
    if (names.size() + some.size() > kMostNodes) return unreadable(list, "it has too many nodes");
    std::move(some.begin(), some.end(), std::back_inserter(names));
  }
  return names;
}

absl::StatusOr<std::vector<int>> expand_counts(absl::string_view list) {
  std::vector<int> counts;
  for (absl::string_view entry : absl::StrSplit(list, ',')) {
    const size_t open = entry.find("(x");
    const absl::string_view number = entry.substr(0, open);
    absl::string_view times = "1";
    if (open != absl::string_view::npos) {
      if (entry.back() != ')') return unreadable(list, absl::StrCat("\"", entry, "\" is no number with a count"));
      times = entry.substr(open + 2, entry.size() - open - 3);
    }
    if (!all_digits(number) || !all_digits(times))
      return unreadable(list, absl::StrCat("\"", entry, "\" is no number, with or without a count"));
    int value = 0;
    int repeated = 0;
    (void)absl::SimpleAtoi(number, &value);
    (void)absl::SimpleAtoi(times, &repeated);
    if (counts.size() + static_cast<size_t>(repeated) > kMostNodes) return unreadable(list, "it has too many nodes");
    counts.insert(counts.end(), repeated, value);
  }
  return counts;
}

}  // namespace galleon
