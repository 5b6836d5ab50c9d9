// UTF-8, by the table of well-formed sequences (Unicode 15, table 3-7).
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace galleon {

// Bytes of the character that such a byte begins; 0: none begins so.
inline size_t utf8_announced(unsigned char first) {
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

// Bytes of the character that begins `text`, which is not empty; 0: it is not well formed, and `bad`, if it is given,
// is how many bytes one replacement stands for (the longest beginning of a sound sequence, at least one: section 3.9).
inline size_t utf8_length(absl::string_view text, size_t* bad = nullptr) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const unsigned first = byte(0);
  const size_t length = utf8_announced(static_cast<unsigned char>(first));
  unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) < low || byte(i) > high) {
      if (bad != nullptr) *bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  if (length == 0 && bad != nullptr) *bad = 1;
  return length;
}

// Inside of a character, not at its beginning.
inline bool utf8_continues(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

}  // namespace galleon
