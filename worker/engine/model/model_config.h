// The shape of a Llama decoder, as Hugging Face's config.json describes it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

struct ModelConfig {
  int64_t vocabulary = 32000;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;
  int64_t head_dimension = 0;
  int64_t max_positions = 2048;
  double norm_epsilon = 1e-6;
  double rope_theta = 10000;
  double initializer_range = 0.02;
  bool tied_embeddings = false;
  int64_t bos_token = -1;  // -1: none
  int64_t eos_token = -1;

  int64_t query_width() const { return heads * head_dimension; }
  int64_t key_value_width() const { return key_value_heads * head_dimension; }
  int64_t parameters() const;
  // Multiplications and additions of forward and backward for one token in a sequence of this length, causal attention
  // included.
  double train_flops_per_token(int64_t sequence_length) const;
};

// "llama-9m", "llama-20m", "llama-60m", "llama-130m", "llama-350m", "llama-1b", "llama-7b", "tiny". NOT_FOUND lists
// them.
absl::StatusOr<ModelConfig> model_preset(absl::string_view name);

// From the text of a config.json with `overrides` (field, JSON text) applied. INVALID_ARGUMENT names `where`, the field
// and what is accepted; features that this version does not compute (biases, other activations, scaled rotary
// positions) are refused by name.
absl::StatusOr<ModelConfig> model_config_from_json(absl::string_view json, absl::string_view where,
                                                   const std::vector<std::pair<std::string, std::string>>& overrides);
// `torch_dtype`: the type that the weights beside it are in, "float32" or "bfloat16".
std::string model_config_to_json(const ModelConfig& config, absl::string_view torch_dtype);

// A preset ("preset:NAME") or a folder's config.json, with overrides. `tokenizer_vocabulary` > 0 sets a preset's
// vocabulary unless an override does.
absl::StatusOr<ModelConfig> resolve_model_config(const std::string& source,
                                                 const std::vector<std::pair<std::string, std::string>>& overrides,
                                                 int64_t tokenizer_vocabulary);

}  // namespace galleon
