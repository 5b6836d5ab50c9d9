#include "worker/engine/model/model_config.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"

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

absl::Status bad(absl::string_view where, absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, " ", what));
}

absl::Status read_integer(const Json& json, absl::string_view where, const char* field, int64_t least, int64_t& value) {
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) return absl::OkStatus();
  if (!it->is_number_integer() || it->get<int64_t>() < least)
    return bad(where, field, absl::StrCat("must be an integer of at least ", least));
  value = it->get<int64_t>();
  return absl::OkStatus();
}

absl::Status read_number(const Json& json, absl::string_view where, const char* field, double& value) {
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) return absl::OkStatus();
  if (!it->is_number() || !(it->get<double>() > 0)) return bad(where, field, "must be a number above 0");
  value = it->get<double>();
  return absl::OkStatus();
}

// A token id may be a number, a list of them (the first counts) or null.
int64_t token_id(const Json& json, const char* field) {
  const auto it = json.find(field);
  if (it == json.end()) return -1;
  if (it->is_array() && !it->empty() && it->front().is_number_integer()) return it->front().get<int64_t>();
  return it->is_number_integer() ? it->get<int64_t>() : -1;
}

absl::Status refuse_unsupported(const Json& json, absl::string_view where) {
  const std::string type = json.value("model_type", "llama");
  if (type != "llama")
    return bad(where, "model_type", absl::StrCat("\"", type, "\" is not available in this version; available: llama"));
  for (const char* flag : {"attention_bias", "mlp_bias"}) {
    const auto it = json.find(flag);
    if (it != json.end() && it->is_boolean() && it->get<bool>())
      return bad(where, flag, "true is not available in this version; available: false");
  }
  const auto act = json.find("hidden_act");
  if (act != json.end() && act->is_string() && act->get<std::string>() != "silu") {
    return bad(where, "hidden_act",
               absl::StrCat("\"", act->get<std::string>(), "\" is not available for llama; available: silu"));
  }
  const auto scaling = json.find("rope_scaling");
  if (scaling != json.end() && !scaling->is_null())
    return bad(where, "rope_scaling", "is not available in this version; available: null");
  return absl::OkStatus();
}

absl::Status refuse_unknown_overrides(const std::vector<std::pair<std::string, std::string>>& overrides) {
  constexpr const char* kKnown[] = {
      "vocab_size",          "hidden_size",         "intermediate_size", "num_hidden_layers",
      "num_attention_heads", "num_key_value_heads", "head_dim",          "max_position_embeddings",
      "rms_norm_eps",        "rope_theta",          "initializer_range", "tie_word_embeddings",
      "bos_token_id",        "eos_token_id"};
  for (const auto& [field, text] : overrides) {
    std::string list;
    bool known = false;
    for (const char* name : kKnown) {
      known |= field == name;
      absl::StrAppend(&list, list.empty() ? "" : ", ", name);
    }
    if (!known)
      return absl::InvalidArgumentError(absl::StrCat("model.overrides.", field, " is not accepted; one of ", list));
    if (!Json::accept(text))
      return absl::InvalidArgumentError(absl::StrCat("model.overrides.", field, ": ", text, " is not a JSON value"));
  }
  return absl::OkStatus();
}

bool overridden(const std::vector<std::pair<std::string, std::string>>& overrides, absl::string_view field) {
  for (const auto& entry : overrides) {
    if (entry.first == field) return true;
  }
  return false;
}

Json to_json(const ModelConfig& c) {
  Json json = {{"architectures", {"LlamaForCausalLM"}},
               {"model_type", "llama"},
               {"vocab_size", c.vocabulary},
               {"hidden_size", c.hidden},
               {"intermediate_size", c.intermediate},
               {"num_hidden_layers", c.layers},
               {"num_attention_heads", c.heads},
               {"num_key_value_heads", c.key_value_heads},
               {"head_dim", c.head_dimension},
               {"max_position_embeddings", c.max_positions},
               {"rms_norm_eps", c.norm_epsilon},
               {"rope_theta", c.rope_theta},
               {"initializer_range", c.initializer_range},
               {"tie_word_embeddings", c.tied_embeddings},
               {"hidden_act", "silu"},
               {"attention_bias", false},
               {"mlp_bias", false}};
  json["bos_token_id"] = c.bos_token >= 0 ? Json(c.bos_token) : Json(nullptr);
  json["eos_token_id"] = c.eos_token >= 0 ? Json(c.eos_token) : Json(nullptr);
  return json;
}

absl::StatusOr<ModelConfig> from_json(Json json, absl::string_view where,
                                      const std::vector<std::pair<std::string, std::string>>& overrides) {
  if (absl::Status s = refuse_unknown_overrides(overrides); !s.ok()) return s;
  for (const auto& [field, text] : overrides) json[field] = Json::parse(text);
  if (absl::Status s = refuse_unsupported(json, where); !s.ok()) return s;

  ModelConfig c;
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    if (!json.contains(field)) return bad(where, field, "is missing");
  }
  const std::pair<const char*, int64_t*> integers[] = {
      {"vocab_size", &c.vocabulary},          {"hidden_size", &c.hidden},
      {"intermediate_size", &c.intermediate}, {"num_hidden_layers", &c.layers},
      {"num_attention_heads", &c.heads},      {"num_key_value_heads", &c.key_value_heads},
      {"head_dim", &c.head_dimension},        {"max_position_embeddings", &c.max_positions}};
  for (const auto& [field, value] : integers) {
    if (absl::Status s = read_integer(json, where, field, 1, *value); !s.ok()) return s;
  }
  const std::pair<const char*, double*> numbers[] = {
      {"rms_norm_eps", &c.norm_epsilon}, {"rope_theta", &c.rope_theta}, {"initializer_range", &c.initializer_range}};
  for (const auto& [field, value] : numbers) {
    if (absl::Status s = read_number(json, where, field, *value); !s.ok()) return s;
  }
  const auto tied = json.find("tie_word_embeddings");
  if (tied != json.end() && !tied->is_boolean()) return bad(where, "tie_word_embeddings", "must be true or false");
  c.tied_embeddings = tied != json.end() && tied->get<bool>();
  c.bos_token = token_id(json, "bos_token_id");
  c.eos_token = token_id(json, "eos_token_id");

  if (c.key_value_heads == 0) c.key_value_heads = c.heads;
  if (c.head_dimension == 0) {
    if (c.hidden % c.heads != 0)
      return bad(where, "hidden_size", absl::StrCat(c.hidden, " is not a multiple of num_attention_heads ", c.heads));
    c.head_dimension = c.hidden / c.heads;
  }
  if (c.heads % c.key_value_heads != 0) {
    return bad(where, "num_key_value_heads",
               absl::StrCat(c.key_value_heads, " does not divide num_attention_heads ", c.heads));
  }
  if (c.head_dimension % 2 != 0)
    return bad(where, "head_dim", absl::StrCat(c.head_dimension, " is odd; rotary positions need an even one"));
  return c;
}

}  // namespace

int64_t ModelConfig::parameters() const {
  const int64_t attention = hidden * query_width() * 2 + hidden * key_value_width() * 2;
  const int64_t block = attention + 3 * hidden * intermediate + 2 * hidden;
  return vocabulary * hidden * (tied_embeddings ? 1 : 2) + layers * block + hidden;
}

double ModelConfig::train_flops_per_token(int64_t sequence_length) const {
  const double matrices = static_cast<double>(layers) * (hidden * query_width() * 2 + hidden * key_value_width() * 2 +
                                                         3 * hidden * intermediate) +
                          static_cast<double>(vocabulary) * hidden;
  const double attention =
      static_cast<double>(layers) * 2.0 * sequence_length * query_width();  // causal: half of 4·T·width
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

absl::StatusOr<ModelConfig> model_config_from_json(absl::string_view json, absl::string_view where,
                                                   const std::vector<std::pair<std::string, std::string>>& overrides) {
  Json parsed = Json::parse(json.begin(), json.end(), nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object())
    return absl::InvalidArgumentError(absl::StrCat(where, " is not a JSON object"));
  return from_json(std::move(parsed), where, overrides);
}

std::string model_config_to_json(const ModelConfig& config, absl::string_view torch_dtype) {
  Json json = to_json(config);
  json["torch_dtype"] = std::string(torch_dtype);
  return json.dump(2) + "\n";
}

absl::StatusOr<ModelConfig> resolve_model_config(const std::string& source,
                                                 const std::vector<std::pair<std::string, std::string>>& overrides,
                                                 int64_t tokenizer_vocabulary) {
  if (absl::StartsWith(source, "preset:")) {
    absl::StatusOr<ModelConfig> preset = model_preset(source.substr(7));
    if (!preset.ok()) return preset.status();
    if (tokenizer_vocabulary > 0 && !overridden(overrides, "vocab_size")) preset->vocabulary = tokenizer_vocabulary;
    Json json = to_json(*preset);
    // Derived fields follow an override of what they derive from.
    if (overridden(overrides, "num_attention_heads") || overridden(overrides, "hidden_size")) {
      if (!overridden(overrides, "head_dim")) json.erase("head_dim");
      if (!overridden(overrides, "num_key_value_heads")) json.erase("num_key_value_heads");
    }
    return from_json(std::move(json), source, overrides);
  }
  const std::string path = source + "/config.json";
  absl::StatusOr<std::string> text = read_file(path);
  if (!text.ok()) return absl::Status(text.status().code(), absl::StrCat("model.source: ", text.status().message()));
  return model_config_from_json(*text, path, overrides);
}

}  // namespace galleon
