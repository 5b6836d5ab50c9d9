// Evaluation, generation and tokenizing on a checkpoint or a Hugging Face folder. Each prints to standard output.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace galleon {

struct EvaluateOptions {
  std::string model;              // a folder
  std::vector<std::string> data;  // globs
  std::string tokenizer;          // empty: the model folder's own
  std::string format = "auto";
  std::string text_field = "text";
  int64_t sequence_length = 0;  // 0: 256, or the model's longest if that is shorter
  int64_t batch = 8;
  int64_t tokens = 0;  // 0: all
  int threads = 0;
  bool json = false;
};
absl::Status evaluate(const EvaluateOptions& options);

struct GenerateOptions {
  std::string model;
  std::string prompt;
  std::string tokenizer;
  int64_t tokens = 64;
  double temperature = 0.8;
  double top_p = 0.95;
  uint64_t seed = 42;
  int threads = 0;
};
absl::Status generate(const GenerateOptions& options);

struct TokenizeOptions {
  std::string tokenizer;
  std::vector<std::string> input;
  std::string format = "auto";
  std::string text_field = "text";
  std::string output;
  int threads = 0;  // 0: all cores
};
absl::Status tokenize(const TokenizeOptions& options);

}  // namespace galleon
