#include "worker/engine/model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/reach.h"
#include "worker/engine/model/adapter_folder.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

struct Preset {
  const char* name;
  int64_t hidden, intermediate, layers, heads;
  bool tied;
};

// Shapes of Zhao et al. 2024, table 5 (60m to 7b), and three small ones for a CPU.
constexpr Preset kPresets[] = {
    {"tiny", 64, 172, 2, 4, true},
    {"llama-9m", 128, 352, 4, 4, false},
    {"llama-20m", 256, 688, 4, 4, false},
    {"llama-60m", 512, 1376, 8, 8, false},
    {"llama-130m", 768, 2048, 12, 12, false},
    {"llama-350m", 1024, 2736, 24, 16, false},
    {"llama-1b", 2048, 5461, 24, 32, false},
    {"llama-7b", 4096, 11008, 32, 32, false},
};

bool overridden(const std::vector<std::pair<std::string, std::string>>& overrides, absl::string_view field) {
  for (const auto& entry : overrides) {
    if (entry.first == field) return true;
  }
  return false;
}

}  // namespace

int64_t ModelConfig::longest_sequence() const {
  if (encoder()) return max_positions - first_position();
  const auto positions = static_cast<double>(max_positions);
  switch (rope.type) {
    case RopeType::kLinear:
    case RopeType::kDynamic:
      return static_cast<int64_t>(positions * rope.factor);
    case RopeType::kYarn:
      return std::max(max_positions, static_cast<int64_t>(static_cast<double>(rope.original_positions) * rope.factor));
    default:
      return max_positions;
  }
}

int64_t ModelConfig::parameters() const {
  const int64_t attention = hidden * query_width() * 2 + hidden * key_value_width() * 2;
  if (encoder()) {
    const int64_t norm = 2 * hidden;
    const int64_t block = attention + 4 * hidden + 2 * hidden * intermediate + intermediate + hidden + 2 * norm;
    const int64_t head = hidden * hidden + hidden + labels * hidden + labels;  // a dense layer and the classifier
    return (vocabulary + max_positions + token_types) * hidden + norm + layers * block + head;
  }
  int64_t block = attention + 3 * hidden * intermediate + 2 * hidden;
  if (query_key_value_bias) block += query_width() + 2 * key_value_width();
  if (output_bias) block += hidden;
  if (mlp_bias) block += 2 * intermediate + hidden;
  if (query_key_norm) block += 2 * head_dimension;
  return vocabulary * hidden * (tied_embeddings ? 1 : 2) + layers * block + hidden;
}

double ModelConfig::train_flops_per_token(int64_t sequence_length) const {
  const double products = static_cast<double>(hidden * query_width() * 2 + hidden * key_value_width() * 2 +
                                              (encoder() ? 2 : 3) * hidden * intermediate);
  // A head over the vocabulary for each token; an encoder's is for one token of a sequence.
  const double matrices =
      static_cast<double>(layers) * products + (encoder() ? 0.0 : static_cast<double>(vocabulary * hidden));
  // Causal: half of 4·T·width.
  const double attention =
      static_cast<double>(layers) * (encoder() ? 4.0 : 2.0) * static_cast<double>(sequence_length * query_width());
  return 6.0 * matrices + 3.0 * attention;
}

absl::StatusOr<ModelConfig> model_preset(absl::string_view name) {
  std::string list;
  for (const Preset& p : kPresets) {
    if (name == p.name) {
      ModelConfig c;
      c.hidden = p.hidden;
      c.intermediate = p.intermediate;
      c.layers = p.layers;
      c.heads = p.heads;
      c.key_value_heads = p.heads;
      c.head_dimension = p.hidden / p.heads;
      c.tied_embeddings = p.tied;
      return c;
    }
    absl::StrAppend(&list, list.empty() ? "" : ", ", p.name);
  }
  return absl::NotFoundError(absl::StrCat("model.source: there is no preset \"", name, "\"; one of ", list));
}

absl::StatusOr<ModelConfig> resolve_model_config(const std::string& source,
                                                 const std::vector<std::pair<std::string, std::string>>& overrides,
                                                 int64_t tokenizer_vocabulary) {
  if (absl::StartsWith(source, "preset:")) {
    absl::StatusOr<ModelConfig> preset = model_preset(source.substr(7));
    if (!preset.ok()) return preset.status();
    if (tokenizer_vocabulary > 0 && !overridden(overrides, "vocab_size")) preset->vocabulary = tokenizer_vocabulary;
    Json json = Json::parse(model_config_to_json(*preset, "float32"));
    // Derived fields follow an override of what they derive from.
    if (overridden(overrides, "num_attention_heads") || overridden(overrides, "hidden_size")) {
      if (!overridden(overrides, "head_dim")) json.erase("head_dim");
      if (!overridden(overrides, "num_key_value_heads")) json.erase("num_key_value_heads");
    }
    return model_config_from_json(json.dump(), source, overrides);
  }
  if (absl::Status s = refuse_adapter_folder(source); !s.ok())
    return absl::Status(s.code(), absl::StrCat("model.source: ", s.message()));
  const std::string path = source + "/config.json";
  absl::StatusOr<std::string> text = read_to_parse(path);
  if (!text.ok()) return absl::Status(text.status().code(), absl::StrCat("model.source: ", text.status().message()));
  return model_config_from_json(*text, path, overrides);
}

}  // namespace galleon
