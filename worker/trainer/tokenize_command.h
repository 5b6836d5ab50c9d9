// `galleon tokenize`: text files become one token file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace galleon {

struct TokenizeOptions {
  std::string tokenizer;
  std::vector<std::string> input;
  std::string format = "auto";
  std::string text_field = "text";
  std::string begin_token = "auto";  // auto | none | a token's text
  std::string end_token = "auto";
  std::string output;
  int threads = 0;  // 0: all cores
};
absl::Status tokenize(const TokenizeOptions& options);

}  // namespace galleon
