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

// Whether that would change nothing.
bool valid_utf8_whole(absl::string_view text);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalized(absl::string_view text, NormalForm form);
std::string lower_case(absl::string_view text);

bool is_white_space(int32_t code_point);      // Unicode's White_Space
bool is_punctuation(int32_t code_point);      // category P, or an ASCII symbol
bool is_control(int32_t code_point);          // category C, but not tab, line feed, carriage return
bool is_nonspacing_mark(int32_t code_point);  // category Mn
bool is_combining_mark(int32_t code_point);   // category M
// What a word is made of: letters, marks, decimal numbers, connecting punctuation and joiners.
bool is_word_character(int32_t code_point);
bool is_chinese(int32_t code_point);  // the blocks of Chinese characters that BERT sets apart
bool is_number(int32_t code_point);   // category N

// Bytes of white space at an end of the text (valid UTF-8).
size_t white_space_at_start(absl::string_view text);
size_t white_space_at_end(absl::string_view text);
// The code point that ends the text (valid UTF-8, not empty).
int32_t last_code_point(absl::string_view text);
// Where the cluster of code points that begins at `begin` ends (Unicode Standard Annex 29).
size_t end_of_cluster(absl::string_view text, size_t begin);

}  // namespace galleon
