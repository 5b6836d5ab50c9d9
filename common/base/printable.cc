#include "common/base/printable.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/utf8.h"

namespace galleon {

namespace {

// Of the well-formed character at the beginning, which has `length` bytes.
uint32_t code_point(absl::string_view text, size_t length) {
  const auto first = static_cast<unsigned char>(text[0]);
  uint32_t code = length == 1 ? first : first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) code = code << 6U | (static_cast<unsigned char>(text[i]) & 0x3fU);
  return code;
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
    const bool cut = utf8_announced(static_cast<unsigned char>(text[0])) > text.size() || (log && text == "\r");
    if (cut && rest != nullptr) {
      *rest = std::string(text);
      break;
    }
    const size_t length = utf8_length(text);
    if (length == 0) {
      absl::StrAppend(&out, shown(static_cast<unsigned char>(text[0])));
      text.remove_prefix(1);
      continue;
    }
    const uint32_t code = code_point(text, length);
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
