// Lists are given in pages.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace galleon::server {

inline constexpr uint32_t kDefaultPage = 100;
inline constexpr uint32_t kLargestPage = 1000;

// How many entries a page of the size that was asked for holds; 0 asks for the default. INVALID_ARGUMENT.
inline absl::StatusOr<int> page_size(uint32_t asked) {
  if (asked > kLargestPage)
    return absl::InvalidArgumentError(absl::StrCat("page_size: ", asked, " is more than ", kLargestPage));
  return static_cast<int>(asked == 0 ? kDefaultPage : asked);
}

// A page token that the method did not give.
inline absl::Status foreign_token(absl::string_view token, absl::string_view method) {
  return absl::InvalidArgumentError(absl::StrCat("page_token: \"", token, "\" is not one that ", method, " gave"));
}

}  // namespace galleon::server
