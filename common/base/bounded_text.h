// Text from elsewhere that is passed on or kept: of a bounded size, and in UTF-8, as messages need it.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// Of what a program says of its end, of a stage, of an error.
inline constexpr size_t kLongestText = 4096;

// The text with U+FFFD for bytes that are no UTF-8. Of one that is longer than `bytes` the beginning and the end stay,
// with "[N bytes left out]" between; what comes back is not longer than `bytes`, if they are 64 or more.
std::string bounded_text(absl::string_view text, size_t bytes = kLongestText);

}  // namespace galleon
