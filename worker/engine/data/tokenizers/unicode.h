// Code points of UTF-8 text, and the normal forms that tokenizers ask for (utf8proc).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// The code point at `at` (valid UTF-8), which moves behind it.
int32_t next_code_point(absl::string_view text, size_t& at);
void append_code_point(int32_t code_point, std::string& text);

// The text with every byte that is not part of a code point replaced by U+FFFD, as Python's decoder does with
// errors="replace". Text that is valid comes back as it is.
std::string valid_utf8(absl::string_view text);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalized(absl::string_view text, NormalForm form);
std::string lower_case(absl::string_view text);

bool is_white_space(int32_t code_point);      // Unicode's White_Space
bool is_punctuation(int32_t code_point);      // category P, or an ASCII symbol
bool is_control(int32_t code_point);          // category C, but not tab, line feed, carriage return
bool is_nonspacing_mark(int32_t code_point);  // category Mn
bool is_chinese(int32_t code_point);          // the blocks of Chinese characters that BERT sets apart
bool is_number(int32_t code_point);           // category N

}  // namespace galleon
