// Text of jobs and workers on its way to people: what a terminal would obey is shown instead.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// Control characters, those that turn the direction of writing, and bytes that are no UTF-8, as \n, \e, \x9b, \u202e.
std::string printable(absl::string_view text);

// The same for a log that comes in pieces: tabs and ends of lines are kept.
class PrintableLog {
 public:
  std::string add(absl::string_view piece);
  // What was held back because it might have gone on.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace galleon
