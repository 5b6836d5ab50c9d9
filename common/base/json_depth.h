// How deep a JSON text is nested, before a parser builds what recursive functions then walk.
#pragma once

#include "absl/strings/string_view.h"

namespace galleon {

// Deeper than anything that a model's folder holds, and far from what a stack allows.
inline constexpr int kDeepestJson = 64;

// Whether brackets outside of strings are open more than kDeepestJson deep. Says nothing of text that is no JSON.
inline bool nested_too_deeply(absl::string_view json) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepestJson) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace galleon
