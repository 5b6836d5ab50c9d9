// Patterns of tokenizer files are written for Oniguruma, in Ruby's syntax. Where PCRE2 reads the same signs differently
// they are written anew, or refused.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// INVALID_ARGUMENT: the pattern, and the part of it that is not available.
absl::StatusOr<std::string> pattern_of_oniguruma(absl::string_view pattern);

}  // namespace galleon
