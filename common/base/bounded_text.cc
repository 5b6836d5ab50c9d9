#include "common/base/bounded_text.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";
// More than the sentence about what is left out takes.
constexpr size_t kSentence = 48;

bool inside_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Bytes of the character that begins `text`; 0: it is none, by the table of well-formed sequences of Unicode (3-7).
size_t character_bytes(absl::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t bytes = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (size_t i = 1; i < bytes; ++i)
    if (!inside_character(text[i])) return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  const bool good = first == 0xE0   ? second >= 0xA0
                    : first == 0xED ? second < 0xA0
                    : first == 0xF0 ? second >= 0x90
                    : first == 0xF4 ? second < 0x90
                                    : true;
  return good ? bytes : 0;
}

std::string repaired(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = character_bytes(text);
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
  while (head > 0 && head < first.size() && inside_character(first[head])) --head;
  size_t begin = last.size() - std::min(tail, last.size());
  while (begin < last.size() && inside_character(last[begin])) ++begin;
  const size_t kept = std::min(text.size(), room * 3 / 4) + std::min(text.size(), room / 4);
  return absl::StrCat(first.substr(0, head), " [", text.size() - std::min(text.size(), kept), " bytes left out] ",
                      last.substr(begin));
}

}  // namespace galleon
