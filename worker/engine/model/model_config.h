// The shape of a network, as Hugging Face's config.json describes it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/model/rope.h"

namespace galleon {

// `model_type` of a config.json. SmolLM, TinyLlama and Llama 1 to 3 are kLlama; Qwen2.5 is kQwen2.
enum class Architecture { kLlama, kMistral, kQwen2, kQwen3, kBert, kRoberta };

// "llama", "mistral", "qwen2", "qwen3", "bert", "roberta".
absl::string_view architecture_name(Architecture architecture);

// Fields of a config.json that a folder has and no shape depends on, as a JSON object: they are written again.
struct KeptFields {
  std::string json;
  bool operator==(const KeptFields&) const { return true; }
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  int64_t vocabulary = 32000;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t key_value_heads = 0;
  int64_t head_dimension = 0;
  int64_t max_positions = 2048;  // max_position_embeddings
  double norm_epsilon = 1e-6;
  double initializer_range = 0.02;
  int64_t bos_token = -1;  // -1: none
  int64_t eos_token = -1;
  int64_t pad_token = -1;

  // Decoders.
  bool tied_embeddings = false;
  double rope_theta = 10000;
  RopeScaling rope;
  bool query_key_value_bias = false;
  bool output_bias = false;  // of attention
  bool mlp_bias = false;
  bool query_key_norm = false;
  int64_t sliding_window = 0;        // keys that a query sees, its own included; 0: all before it
  std::vector<bool> sliding_layers;  // layers that have the window; empty: none

  // Encoders.
  bool tanh_gelu = false;  // the approximation by a hyperbolic tangent instead of the error function
  int64_t token_types = 0;
  double hidden_dropout = 0;
  double attention_dropout = 0;
  double classifier_dropout = 0;
  int64_t labels = 0;                    // numbers that come out; 1: a regression
  std::vector<std::string> label_names;  // empty: LABEL_0, LABEL_1, …

  KeptFields kept;

  bool operator==(const ModelConfig&) const = default;

  bool encoder() const { return architecture == Architecture::kBert || architecture == Architecture::kRoberta; }
  bool regression() const { return labels == 1; }
  int64_t query_width() const { return heads * head_dimension; }
  int64_t key_value_width() const { return key_value_heads * head_dimension; }
  int64_t window_of(int64_t layer) const {
    return !sliding_layers.empty() && sliding_layers[layer] ? sliding_window : 0;
  }
  // Of an encoder: the row of the position table that the first token takes. RoBERTa's positions begin after that of
  // the padding token.
  int64_t first_position() const { return architecture == Architecture::kRoberta ? pad_token + 1 : 0; }
  // Tokens of the longest sequence that the positions allow.
  int64_t longest_sequence() const;
  int64_t parameters() const;
  // Multiplications and additions of forward and backward for one token in a sequence of this length, attention
  // included.
  double train_flops_per_token(int64_t sequence_length) const;
};

// "llama-9m", "llama-20m", "llama-60m", "llama-130m", "llama-350m", "llama-1b", "llama-7b", "tiny". NOT_FOUND lists
// them.
absl::StatusOr<ModelConfig> model_preset(absl::string_view name);

// From the text of a config.json with `overrides` (field, JSON text) applied. INVALID_ARGUMENT names `where`, the field
// and what is accepted; what changes the mathematics in a way that this version does not compute (other architectures
// and activations, quantised weights, …) is refused by name.
absl::StatusOr<ModelConfig> model_config_from_json(absl::string_view json, absl::string_view where,
                                                   const std::vector<std::pair<std::string, std::string>>& overrides);
// With the fields that were kept. `torch_dtype`: the type that the weights beside it are in, "float32" or "bfloat16".
std::string model_config_to_json(const ModelConfig& config, absl::string_view torch_dtype);

// A preset ("preset:NAME") or a folder's config.json, with overrides. `tokenizer_vocabulary` > 0 sets a preset's
// vocabulary unless an override does.
absl::StatusOr<ModelConfig> resolve_model_config(const std::string& source,
                                                 const std::vector<std::pair<std::string, std::string>>& overrides,
                                                 int64_t tokenizer_vocabulary);

}  // namespace galleon
