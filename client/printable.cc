#include "client/printable.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace galleon {

namespace {

// Bytes of the character that a byte begins; 0: none begins so.
size_t length_of(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return 2;
  if (first >= 0xe0 && first < 0xf0) return 3;
  return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

// The character of `length` bytes at the beginning; false: it is not well formed.
bool decode(absl::string_view text, size_t length, uint32_t& code) {
  code = length == 1 ? static_cast<unsigned char>(text[0]) : static_cast<unsigned char>(text[0]) & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xc0U) != 0x80U) return false;
    code = code << 6U | (byte & 0x3fU);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  return code >= kLeast[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

bool obeyed(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029;
}

std::string shown(uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  if (code == 0x1b) return "\\e";
  return code < 0x100 ? absl::StrFormat("\\x%02x", code) : absl::StrFormat("\\u%04x", code);
}

// `log`: tabs and ends of lines stay. What may go on in the next piece is left in `rest`, where there is one.
std::string convert(absl::string_view text, bool log, std::string* rest) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t length = length_of(static_cast<unsigned char>(text[0]));
    const bool cut = length > text.size() || (log && text == "\r");
    if (cut && rest != nullptr) {
      *rest = std::string(text);
      break;
    }
    uint32_t code = 0;
    if (length == 0 || length > text.size() || !decode(text, length, code)) {
      absl::StrAppend(&out, shown(static_cast<unsigned char>(text[0])));
      text.remove_prefix(1);
      continue;
    }
    const bool kept = log && (code == '\n' || code == '\t' || (code == '\r' && text.size() > 1 && text[1] == '\n'));
    if (kept || !obeyed(code)) {
      absl::StrAppend(&out, text.substr(0, length));
    } else {
      absl::StrAppend(&out, shown(code));
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace

std::string printable(absl::string_view text) {
  return convert(text, false, nullptr);
}

std::string PrintableLog::add(absl::string_view piece) {
  const std::string text = absl::StrCat(held_, piece);
  held_.clear();
  return convert(text, true, &held_);
}

std::string PrintableLog::finish() {
  const std::string text = std::move(held_);
  held_.clear();
  return convert(text, true, nullptr);
}

}  // namespace galleon
