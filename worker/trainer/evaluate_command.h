// `galleon evaluate`: what a checkpoint or a Hugging Face folder makes of data.
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
  std::string format = "auto";    // auto | text | jsonl | tokens | tsv | chat
  std::string text_field = "text";
  std::string begin_token = "auto";  // auto | none | a token's text
  std::string end_token = "auto";
  std::string chat_template;  // preset:NAME or a path; empty: that of the tokenizer's folder
  std::string template_date;  // that the template sees; empty: 2024-07-26
  std::string glue_task;      // of an encoder; empty: its columns are
  std::vector<std::string> text_columns{"sentence"};
  std::string label_column = "label";
  bool packing = true;          // documents joined by the end token
  int64_t sequence_length = 0;  // 0: 256, or the model's longest if that is shorter
  int64_t batch = 8;
  int64_t tokens = 0;  // 0: all
  int threads = 0;
  std::string device = "auto";  // auto | cpu | cuda
  bool json = false;
};

// Prints the loss (the mean over targets, or over rows), the perplexity and the task's metrics to standard output.
absl::Status evaluate(const EvaluateOptions& options);

}  // namespace galleon
