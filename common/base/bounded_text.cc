#include "common/base/bounded_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"

namespace galleon {

namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";
// More than the sentence about what is left out takes.
constexpr size_t kSentence = 48;

std::string repaired(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = utf8_length(text);
    absl::StrAppend(&out, bytes == 0 ? kReplacement : text.substr(0, bytes));
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return out;
}

}  // namespace

std::string bounded_text(absl::string_view text, size_t bytes) {
  // What is repaired may be three times as long; what is left out need not be repaired.
  if (text.size() <= bytes) {
    std::string whole = repaired(text);
    if (whole.size() <= bytes) return whole;
  }
  const size_t room = bytes < kSentence ? 0 : bytes - kSentence;
  size_t head = room * 3 / 4;
  size_t tail = room / 4;
  std::string first = repaired(text.substr(0, std::min(head, text.size())));
  std::string last = repaired(text.substr(text.size() - std::min(tail, text.size())));
  // Cut to size again, and at the ends of characters.
  head = std::min(head, first.size());
  while (head > 0 && head < first.size() && utf8_continues(first[head])) --head;
  size_t begin = last.size() - std::min(tail, last.size());
  while (begin < last.size() && utf8_continues(last[begin])) ++begin;
  const size_t kept = std::min(text.size(), room * 3 / 4) + std::min(text.size(), room / 4);
  return absl::StrCat(first.substr(0, head), " [", text.size() - std::min(text.size(), kept), " bytes left out] ",
                      last.substr(begin));
}

}  // namespace galleon
