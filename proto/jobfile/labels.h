// Labels of jobs: words by which people find them, of the form that Kubernetes gives to its own.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

inline constexpr int kMostLabels = 32;
inline constexpr size_t kLongestNote = 1024;  // bytes

// What is wrong with a label's key or value, and what would be accepted; empty: nothing. A key is a name of up to 63
// letters, digits, '-', '_' and '.', the first and the last a letter or a digit, behind a domain and '/' or not; a
// value is such a name, or empty.
std::string label_key_fault(absl::string_view key);
std::string label_value_fault(absl::string_view value);

}  // namespace galleon
