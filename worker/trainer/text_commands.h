// Evaluation, generation and tokenizing on a checkpoint or a Hugging Face folder. Each prints to standard output.
#pragma once

#include <cstdint>
#include <optional>
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
  // What is not given is as the folder's generation_config.json says, else as in Sampling.
  std::optional<double> temperature;
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> repetition_penalty;
  uint64_t seed = 42;
  int threads = 0;
  std::string device = "auto";  // auto | cpu | cuda
};
absl::Status generate(const GenerateOptions& options);

}  // namespace galleon
