#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "worker/engine/model/config_fields.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

struct Family {
  Architecture architecture;
  const char* model_type;
  const char* prefix;  // of the class names in transformers
};

constexpr Family kFamilies[] = {
    {Architecture::kLlama, "llama", "Llama"}, {Architecture::kMistral, "mistral", "Mistral"},
    {Architecture::kQwen2, "qwen2", "Qwen2"}, {Architecture::kQwen3, "qwen3", "Qwen3"},
    {Architecture::kBert, "bert", "Bert"},    {Architecture::kRoberta, "roberta", "Roberta"},
};

constexpr std::pair<const char*, int64_t ModelConfig::*> kTokens[] = {{"bos_token_id", &ModelConfig::bos_token},
                                                                      {"eos_token_id", &ModelConfig::eos_token},
                                                                      {"pad_token_id", &ModelConfig::pad_token}};

const Family& family_of(Architecture architecture) {
  return kFamilies[static_cast<int>(architecture)];
}

// The architecture by `model_type`; `architectures` must not name something that is built otherwise.
void read_architecture(ConfigFields& fields, ModelConfig& c) {
  const std::string type = fields.word("model_type", "llama");
  std::string list;
  const Family* family = nullptr;
  for (const Family& f : kFamilies) {
    if (type == f.model_type) family = &f;
    absl::StrAppend(&list, list.empty() ? "" : ", ", f.model_type);
  }
  if (family == nullptr) {
    return fields.refuse("model_type",
                         absl::StrCat("\"", type, "\" is not available in this version; available: ", list));
  }
  c.architecture = family->architecture;
  if (!fields.given("architectures")) return;
  const Json& classes = fields.json()["architectures"];
  if (!classes.is_array()) return fields.refuse("architectures", "must be a list");
  for (const Json& name : classes) {
    // Of an encoder the body counts, whatever head was trained on it.
    const std::string text = name.is_string() ? name.get<std::string>() : name.dump();
    const bool fine =
        c.encoder() ? absl::StartsWith(text, family->prefix) : text == absl::StrCat(family->prefix, "ForCausalLM");
    fields.refuse_unless(fine, "architectures",
                         absl::StrCat("\"", text, "\" is not available for ", type, "; available: ", family->prefix,
                                      c.encoder() ? "ForSequenceClassification" : "ForCausalLM"));
  }
}

absl::Status refuse_unknown_overrides(const std::vector<std::pair<std::string, std::string>>& overrides) {
  constexpr const char* kKnown[] = {"vocab_size",
                                    "hidden_size",
                                    "intermediate_size",
                                    "num_hidden_layers",
                                    "num_attention_heads",
                                    "num_key_value_heads",
                                    "head_dim",
                                    "max_position_embeddings",
                                    "rms_norm_eps",
                                    "layer_norm_eps",
                                    "rope_theta",
                                    "rope_scaling",
                                    "initializer_range",
                                    "tie_word_embeddings",
                                    "attention_bias",
                                    "mlp_bias",
                                    "use_sliding_window",
                                    "sliding_window",
                                    "max_window_layers",
                                    "hidden_act",
                                    "hidden_dropout_prob",
                                    "attention_probs_dropout_prob",
                                    "classifier_dropout",
                                    "type_vocab_size",
                                    "num_labels",
                                    "id2label",
                                    "problem_type",
                                    "bos_token_id",
                                    "eos_token_id",
                                    "pad_token_id"};
  for (const auto& [field, text] : overrides) {
    std::string list;
    bool known = false;
    for (const char* name : kKnown) {
      known |= field == name;
      absl::StrAppend(&list, list.empty() ? "" : ", ", name);
    }
    if (!known)
      return absl::InvalidArgumentError(absl::StrCat("model.overrides.", field, " is not accepted; one of ", list));
    if (nested_too_deeply(text) || !Json::accept(text))
      return absl::InvalidArgumentError(absl::StrCat("model.overrides.", field, ": ", text, " is not a JSON value"));
  }
  return absl::OkStatus();
}

// What is known of a config, in the words of its architecture.
Json own_fields(const ModelConfig& c) {
  const Family& family = family_of(c.architecture);
  Json json = {
      {"architectures", {absl::StrCat(family.prefix, c.encoder() ? "ForSequenceClassification" : "ForCausalLM")}},
      {"model_type", family.model_type},
      {"vocab_size", c.vocabulary},
      {"hidden_size", c.hidden},
      {"intermediate_size", c.intermediate},
      {"num_hidden_layers", c.layers},
      {"num_attention_heads", c.heads},
      {"max_position_embeddings", c.max_positions},
      {"initializer_range", c.initializer_range}};
  for (const auto& [field, id] : kTokens) {
    const int64_t token = c.*id;
    json[field] = token >= 0 ? Json(token) : Json(nullptr);
  }
  if (c.encoder()) {
    encoder_to_json(c, json);
  } else {
    decoder_to_json(c, json);
  }
  return json;
}

// Whether a field of a folder is a list of tokens of which the first is the config's.
bool lists_token(const Json& value, const Json& token) {
  return value.is_array() && value.size() > 1 && value.front() == token;
}

// Fields of a folder that stay true of a model that is trained from it: all but those that are written anew, those that
// say the same in other words, and those about the folder itself.
Json kept_fields(const Json& source, const ModelConfig& c) {
  const Json own = own_fields(c);
  Json kept = Json::object();
  for (const auto& [field, value] : source.items()) {
    bool stays = !own.contains(field) && field[0] != '_';
    for (const char* other :
         {"torch_dtype", "dtype", "rope_parameters", "num_labels", "transformers_version", "auto_map"})
      stays = stays && field != other;
    for (const auto& [name, id] : kTokens) stays = stays || (field == name && lists_token(value, own[name]));
    if (stays) kept[field] = value;
  }
  return kept;
}

absl::StatusOr<ModelConfig> from_json(Json json, absl::string_view where,
                                      const std::vector<std::pair<std::string, std::string>>& overrides) {
  RETURN_IF_ERROR(refuse_unknown_overrides(overrides));
  for (const auto& [field, text] : overrides) {
    json[field] = Json::parse(text);
    // Of two ways to say the same, the override's counts.
    if (field == "rope_scaling") json.erase("rope_parameters");
    if (field == "rope_theta" && json.contains("rope_parameters") && json["rope_parameters"].is_object())
      json["rope_parameters"].erase("rope_theta");
  }
  ConfigFields fields(json, where);
  ModelConfig c;
  read_architecture(fields, c);
  fields.only_if_idle({"quantization_config"});
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    fields.require(field);
  }
  // Bounds that leave products of them exact; the largest models that there are stay far below.
  fields.integer("vocab_size", 1, c.vocabulary, 1 << 24);
  fields.integer("hidden_size", 1, c.hidden, 1 << 18);
  fields.integer("intermediate_size", 1, c.intermediate, 1 << 20);
  fields.integer("num_hidden_layers", 1, c.layers, 10'000);
  fields.integer("num_attention_heads", 1, c.heads, 1 << 14);
  fields.positive("initializer_range", c.initializer_range);
  c.bos_token = fields.token("bos_token_id", -1);
  c.eos_token = fields.token("eos_token_id", -1);
  c.pad_token = fields.token("pad_token_id", -1);
  if (!fields.status().ok()) return fields.status();
  if (c.encoder()) {
    read_encoder(fields, c);
  } else {
    read_decoder(fields, c);
  }
  fields.refuse_unless(!fields.status().ok() || c.head_dimension <= 256, "head_dim", "must be at most 256");
  if (!fields.status().ok()) return fields.status();
  c.kept.json = kept_fields(json, c).dump();
  return c;
}

}  // namespace

absl::string_view architecture_name(Architecture architecture) {
  return family_of(architecture).model_type;
}

absl::StatusOr<ModelConfig> model_config_from_json(absl::string_view json, absl::string_view where,
                                                   const std::vector<std::pair<std::string, std::string>>& overrides) {
  if (nested_too_deeply(json))
    return absl::InvalidArgumentError(absl::StrCat(where, " is nested more than ", kDeepestJson, " deep"));
  Json parsed = Json::parse(json.begin(), json.end(), nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object())
    return absl::InvalidArgumentError(absl::StrCat(where, " is not a JSON object"));
  return from_json(std::move(parsed), where, overrides);
}

std::string model_config_to_json(const ModelConfig& c, absl::string_view torch_dtype) {
  const Json own = own_fields(c);
  Json json = c.kept.json.empty() ? Json::object() : Json::parse(c.kept.json);
  for (const auto& [field, value] : own.items()) {
    if (!json.contains(field) || !lists_token(json[field], value)) json[field] = value;
  }
  json["torch_dtype"] = std::string(torch_dtype);
  return json.dump(2) + "\n";
}

}  // namespace galleon
