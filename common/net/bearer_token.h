// A token that who asks by HTTP must show: "Authorization: Bearer TOKEN".
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

// The file is read anew for each request, so that another token in it holds at once.
class BearerToken {
 public:
  explicit BearerToken(std::string file) : file_(std::move(file)) {}

  // Whether the file has a token: one line of 16 to 4,096 printable characters, which nobody else may read.
  absl::Status check() const;
  // `request`: its lines up to the empty one. UNAUTHENTICATED: it does not show the token; or what is wrong with the
  // file, without what is in it.
  absl::Status shown_in(absl::string_view request) const;

 private:
  std::string file_;
};

}  // namespace galleon
