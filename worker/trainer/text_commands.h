// Evaluation, generation and tokenizing on a checkpoint or a Hugging Face folder. Each prints to standard output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace galleon {

struct GenerateOptions {
  std::string model;
  std::string prompt;
  std::string tokenizer;
  std::string begin_token = "auto";  // before the prompt: auto | none | a token's text
  std::string end_token = "auto";    // that ends the text, beside those that the model's files name
  int64_t tokens = 64;
  double temperature = 0.8;
  double top_p = 0.95;
  uint64_t seed = 42;
  int threads = 0;
  std::string device = "auto";  // auto | cpu | cuda
};
absl::Status generate(const GenerateOptions& options);

}  // namespace galleon
