#include "worker/engine/data/tokenizers/unicode.h"

#include <utf8proc.h>

#include <cctype>
#include <cstdlib>

#include "common/base/check.h"
#include "common/base/utf8.h"

namespace galleon {
namespace {

constexpr int32_t kCapitalDottedI = 0x130;
constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";

std::string mapped(absl::string_view text, int options) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(options));
  GALLEON_CHECK(length >= 0) << utf8proc_errmsg(length);
  std::string out(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  std::free(result);
  return out;
}

bool is_ascii(absl::string_view text) {
  for (const char c : text) {
    if (static_cast<uint8_t>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace

int32_t next_code_point(absl::string_view text, size_t& at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) {
    ++at;
    return first;
  }
  utf8proc_int32_t code_point = 0;
  const utf8proc_ssize_t length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                                   static_cast<utf8proc_ssize_t>(text.size() - at), &code_point);
  GALLEON_CHECK(length > 0) << "the text is not valid UTF-8";
  at += static_cast<size_t>(length);
  return code_point;
}

void append_code_point(int32_t code_point, std::string& text) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t length = utf8proc_encode_char(code_point, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

std::string valid_utf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t sound = 0;  // what is sound and not copied yet begins here
  for (size_t at = 0; at < text.size();) {
    size_t bad = 0;
    const size_t length = utf8_length(text.substr(at), &bad);
    if (length > 0) {
      at += length;
      continue;
    }
    out.append(text.data() + sound, at - sound);
    out.append(kReplacement.data(), kReplacement.size());
    at += bad;
    sound = at;
  }
  out.append(text.data() + sound, text.size() - sound);
  return out;
}

bool valid_utf8_whole(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text.substr(at));
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string normalized(absl::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  switch (form) {
    case NormalForm::kNfc:
      return mapped(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    case NormalForm::kNfd:
      return mapped(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    case NormalForm::kNfkc:
      return mapped(text, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case NormalForm::kNfkd:
      return mapped(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  }
  return std::string(text);
}

std::string lower_case(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const int32_t c = next_code_point(text, at);
    if (c == kCapitalDottedI) {  // the one letter that becomes two
      out += "i\xCC\x87";
    } else {
      append_code_point(utf8proc_tolower(c), out);
    }
  }
  return out;
}

bool is_white_space(int32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  const utf8proc_category_t category = utf8proc_category(c);
  return c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool is_punctuation(int32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool is_control(int32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const utf8proc_category_t category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CS ||
         category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CN;
}

bool is_nonspacing_mark(int32_t c) {
  return utf8proc_category(c) == UTF8PROC_CATEGORY_MN;
}

bool is_combining_mark(int32_t c) {
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool is_word_character(int32_t c) {
  if (c < 0x80) return std::isalnum(c) != 0 || c == '_';
  const utf8proc_category_t category = utf8proc_category(c);
  const bool joiner = c == 0x200C || c == 0x200D;
  const bool circled_letter = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                              (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
         joiner || circled_letter;
}

size_t white_space_at_start(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!is_white_space(next_code_point(text, next))) break;
    at = next;
  }
  return at;
}

int32_t last_code_point(absl::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0U) == 0x80U) --at;
  return next_code_point(text, at);
}

size_t white_space_at_end(absl::string_view text) {
  size_t taken = 0;
  while (taken < text.size()) {
    const absl::string_view rest = text.substr(0, text.size() - taken);
    const int32_t c = last_code_point(rest);
    if (!is_white_space(c)) break;
    taken += c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
  }
  return taken;
}

size_t end_of_cluster(absl::string_view text, size_t begin) {
  utf8proc_int32_t state = 0;
  size_t at = begin;
  int32_t before = next_code_point(text, at);
  while (at < text.size()) {
    size_t next = at;
    const int32_t c = next_code_point(text, next);
    if (utf8proc_grapheme_break_stateful(before, c, &state)) break;
    before = c;
    at = next;
  }
  return at;
}

// The last block begins where the package `tokenizers` lets it begin.
bool is_chinese(int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool is_number(int32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const utf8proc_category_t category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

}  // namespace galleon
