#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "worker/engine/model/model_config.h"

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

const Family& family_of(Architecture architecture) {
  return kFamilies[static_cast<int>(architecture)];
}

// Reads fields one by one and keeps the first error.
class Fields {
 public:
  Fields(const Json& json, absl::string_view where) : json_(json), where_(where) {}

  const absl::Status& status() const { return status_; }
  // Present, and not null.
  bool given(const char* field) const { return json_.contains(field) && !json_[field].is_null(); }

  void refuse(absl::string_view field, absl::string_view what) {
    status_.Update(absl::InvalidArgumentError(absl::StrCat(where_, ": ", field, " ", what)));
  }
  void refuse_unless(bool fine, absl::string_view field, absl::string_view what) {
    if (!fine) refuse(field, what);
  }
  void require(const char* field) { refuse_unless(json_.contains(field), field, "is missing"); }
  void integer(const char* field, int64_t least, int64_t& value) {
    if (!given(field)) return;
    const Json& found = json_[field];
    if (found.is_number_integer() && found.get<int64_t>() >= least && found.get<int64_t>() <= (int64_t{1} << 31)) {
      value = found.get<int64_t>();
    } else {
      refuse(field, absl::StrCat("must be an integer of at least ", least));
    }
  }
  void positive(const char* field, double& value) {
    if (!given(field)) return;
    if (json_[field].is_number() && json_[field].get<double>() > 0 && std::isfinite(json_[field].get<double>())) {
      value = json_[field].get<double>();
    } else {
      refuse(field, "must be a number above 0");
    }
  }
  void probability(const char* field, double& value) {
    if (!given(field)) return;
    if (json_[field].is_number() && json_[field].get<double>() >= 0 && json_[field].get<double>() < 1) {
      value = json_[field].get<double>();
    } else {
      refuse(field, "must be a number from 0 to below 1");
    }
  }
  void boolean(const char* field, bool& value) {
    if (!given(field)) return;
    if (json_[field].is_boolean()) {
      value = json_[field].get<bool>();
    } else {
      refuse(field, "must be true or false");
    }
  }
  std::string word(const char* field, const std::string& otherwise) {
    if (!given(field)) return otherwise;
    if (json_[field].is_string()) return json_[field].get<std::string>();
    refuse(field, "must be a word");
    return otherwise;
  }
  // A token id may be a number, a list of them (the first counts) or null.
  int64_t token(const char* field, int64_t otherwise) const {
    if (!json_.contains(field)) return otherwise;
    const Json* found = &json_[field];
    if (found->is_array() && !found->empty()) found = &found->front();
    const bool sound = found->is_number_integer() && found->get<int64_t>() >= 0;
    return sound ? found->get<int64_t>() : -1;
  }
  // Fields that mean another network unless they have the value under which they mean nothing.
  void only_if_idle(std::initializer_list<const char*> fields) {
    for (const char* field : fields) {
      if (!given(field)) continue;
      const Json& v = json_[field];
      const bool idle = (v.is_boolean() && !v.get<bool>()) || (v.is_number() && v.get<double>() == 0) ||
                        ((v.is_array() || v.is_object() || v.is_string()) && v.empty());
      refuse_unless(idle, field, absl::StrCat(v.dump(), " is not available in this version; available: null"));
    }
  }
  const Json& json() const { return json_; }
  absl::string_view where() const { return where_; }

 private:
  const Json& json_;
  absl::string_view where_;
  absl::Status status_;
};

constexpr std::pair<const char*, RopeType> kRopeTypes[] = {{"default", RopeType::kDefault},
                                                           {"linear", RopeType::kLinear},
                                                           {"dynamic", RopeType::kDynamic},
                                                           {"llama3", RopeType::kLlama3},
                                                           {"yarn", RopeType::kYarn}};

// `rope_scaling` beside `rope_theta`, or both in `rope_parameters`, as newer versions of transformers write them.
void read_rope(Fields& fields, ModelConfig& c) {
  fields.positive("rope_theta", c.rope_theta);
  const char* name = fields.given("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!fields.given(name)) return;
  const Json& json = fields.json()[name];
  if (!json.is_object()) return fields.refuse(name, "must be an object");
  const std::string where = absl::StrCat(fields.where(), ": ", name);
  Fields rope(json, where);
  rope.positive("rope_theta", c.rope_theta);
  const std::string type = rope.word("rope_type", rope.word("type", "default"));
  std::string list;
  const std::pair<const char*, RopeType>* found = nullptr;
  for (const auto& entry : kRopeTypes) {
    if (type == entry.first) found = &entry;
    absl::StrAppend(&list, list.empty() ? "" : ", ", entry.first);
  }
  if (found == nullptr) {
    return fields.refuse(absl::StrCat(name, ".rope_type"),
                         absl::StrCat("\"", type, "\" is not available in this version; one of ", list));
  }
  c.rope.type = found->second;
  double whole = 1;
  rope.positive("partial_rotary_factor", whole);
  rope.refuse_unless(whole == 1, "partial_rotary_factor", "other than 1 is not available in this version");
  rope.only_if_idle({"mrope_section", "long_factor", "short_factor"});
  if (c.rope.type != RopeType::kDefault) {
    rope.require("factor");
    rope.positive("factor", c.rope.factor);
    rope.refuse_unless(c.rope.factor >= 1, "factor", "must be at least 1");
  }
  if (c.rope.type == RopeType::kLlama3 || c.rope.type == RopeType::kYarn) {
    c.rope.original_positions = c.max_positions;
    fields.integer("original_max_position_embeddings", 1, c.rope.original_positions);
    rope.integer("original_max_position_embeddings", 1, c.rope.original_positions);
  }
  if (c.rope.type == RopeType::kLlama3) {
    rope.require("low_freq_factor");
    rope.require("high_freq_factor");
    rope.positive("low_freq_factor", c.rope.low_frequency_factor);
    rope.positive("high_freq_factor", c.rope.high_frequency_factor);
    rope.refuse_unless(c.rope.low_frequency_factor < c.rope.high_frequency_factor, "low_freq_factor",
                       "must be below high_freq_factor");
  }
  if (c.rope.type == RopeType::kYarn) {
    rope.positive("beta_fast", c.rope.beta_fast);
    rope.positive("beta_slow", c.rope.beta_slow);
    rope.positive("attention_factor", c.rope.attention_factor);
    rope.positive("mscale", c.rope.mscale);
    rope.positive("mscale_all_dim", c.rope.mscale_all_dimensions);
    rope.boolean("truncate", c.rope.truncate);
  }
  if (!rope.status().ok()) fields.refuse(name, rope.status().message().substr(where.size() + 2));
}

// Which layers see a window alone. Mistral: all of them; Qwen: those that `layer_types` names, or those from
// `max_window_layers` on.
void read_windows(Fields& fields, ModelConfig& c) {
  if (c.architecture == Architecture::kLlama) {
    fields.only_if_idle({"sliding_window", "use_sliding_window"});
  } else if (c.architecture == Architecture::kMistral) {
    c.sliding_window = fields.json().contains("sliding_window") ? 0 : 4096;
    fields.integer("sliding_window", 1, c.sliding_window);
    if (c.sliding_window > 0) c.sliding_layers.assign(c.layers, true);
  } else {
    bool used = false;
    int64_t first = 28;
    fields.boolean("use_sliding_window", used);
    fields.integer("max_window_layers", 0, first);
    if (used) {
      c.sliding_window = fields.json().contains("sliding_window") ? 0 : 4096;
      fields.integer("sliding_window", 1, c.sliding_window);
    }
    if (c.sliding_window > 0) {
      c.sliding_layers.resize(c.layers);
      for (int64_t l = 0; l < c.layers; ++l) c.sliding_layers[l] = l >= first;
    }
  }
  if (!fields.given("layer_types")) return;
  const Json& types = fields.json()["layer_types"];
  if (!types.is_array() || static_cast<int64_t>(types.size()) != c.layers)
    return fields.refuse("layer_types", "must be a list with a word for each layer");
  for (int64_t l = 0; l < c.layers; ++l) {
    const bool full = types[l] == "full_attention";
    const bool sliding = types[l] == "sliding_attention";
    if (!full && (!sliding || c.sliding_window == 0)) {
      return fields.refuse("layer_types", absl::StrCat(types[l].dump(), " is not available; one of full_attention",
                                                       c.sliding_window > 0 ? ", sliding_attention" : ""));
    }
    if (c.sliding_window > 0) c.sliding_layers[l] = sliding;
  }
}

void read_decoder(Fields& fields, ModelConfig& c) {
  const bool qwen = c.architecture == Architecture::kQwen2 || c.architecture == Architecture::kQwen3;
  if (c.architecture == Architecture::kMistral) c.max_positions = 131072;
  if (qwen) c.max_positions = 32768;
  fields.integer("max_position_embeddings", 1, c.max_positions);
  c.key_value_heads = c.architecture == Architecture::kMistral ? 8 : 0;
  if (fields.json().contains("num_key_value_heads")) c.key_value_heads = 0;
  fields.integer("num_key_value_heads", 1, c.key_value_heads);
  if (c.architecture == Architecture::kQwen3) c.head_dimension = 128;
  fields.integer("head_dim", 1, c.head_dimension);
  fields.positive("rms_norm_eps", c.norm_epsilon);
  fields.boolean("tie_word_embeddings", c.tied_embeddings);
  const std::string activation = fields.word("hidden_act", "silu");
  fields.refuse_unless(activation == "silu", "hidden_act",
                       absl::StrCat("\"", activation, "\" is not available for ", architecture_name(c.architecture),
                                    "; available: silu"));

  bool attention_bias = false;
  fields.boolean("attention_bias", attention_bias);
  fields.boolean("mlp_bias", c.mlp_bias);
  if (c.architecture == Architecture::kMistral || qwen)
    fields.refuse_unless(!c.mlp_bias, "mlp_bias", "true is not available for this architecture; available: false");
  if (c.architecture == Architecture::kMistral || c.architecture == Architecture::kQwen2) {
    // Qwen2 has biases of queries, keys and values, and never one of the output.
    fields.refuse_unless(!attention_bias || c.architecture == Architecture::kQwen2, "attention_bias",
                         "true is not available for this architecture; available: false");
    c.query_key_value_bias = c.architecture == Architecture::kQwen2;
  } else {
    c.query_key_value_bias = c.output_bias = attention_bias;
  }
  c.query_key_norm = c.architecture == Architecture::kQwen3;
  read_rope(fields, c);
  read_windows(fields, c);
  fields.only_if_idle({"attention_dropout", "rope_interleaved", "attn_logit_softcapping", "final_logit_softcapping",
                       "logit_scale", "clip_qkv", "num_experts", "num_local_experts", "use_mrope", "no_rope_layers",
                       "qk_layernorm", "use_qk_norm"});
  double rotary = 1;
  fields.positive("partial_rotary_factor", rotary);
  fields.refuse_unless(rotary == 1, "partial_rotary_factor", "other than 1 is not available in this version");

  if (!fields.status().ok()) return;
  if (c.key_value_heads == 0) c.key_value_heads = c.heads;
  if (c.head_dimension == 0) {
    if (c.hidden % c.heads != 0) {
      return fields.refuse("hidden_size",
                           absl::StrCat(c.hidden, " is not a multiple of num_attention_heads ", c.heads));
    }
    c.head_dimension = c.hidden / c.heads;
  }
  if (c.heads % c.key_value_heads != 0) {
    return fields.refuse("num_key_value_heads",
                         absl::StrCat(c.key_value_heads, " does not divide num_attention_heads ", c.heads));
  }
  if (c.head_dimension % 2 != 0)
    fields.refuse("head_dim", absl::StrCat(c.head_dimension, " is odd; rotary positions need an even one"));
}

// `num_labels`, or as many as `id2label` has; two where neither is given. One is a regression.
void read_labels(Fields& fields, ModelConfig& c) {
  c.labels = 2;
  if (fields.given("id2label")) {
    const Json& names = fields.json()["id2label"];
    if (!names.is_object() || names.empty()) return fields.refuse("id2label", "must be an object of names");
    for (size_t i = 0; i < names.size(); ++i) {
      const auto name = names.find(absl::StrCat(i));
      if (name == names.end() || !name->is_string())
        return fields.refuse("id2label", absl::StrCat("has no name for label ", i));
      c.label_names.push_back(name->get<std::string>());
    }
    c.labels = static_cast<int64_t>(names.size());
  }
  fields.integer("num_labels", 1, c.labels);
  if (static_cast<int64_t>(c.label_names.size()) != c.labels) c.label_names.clear();
  // Names that only count say nothing.
  bool plain = true;
  for (size_t i = 0; i < c.label_names.size(); ++i) plain &= c.label_names[i] == absl::StrCat("LABEL_", i);
  if (plain) c.label_names.clear();
  // A folder that was made for another number of labels may say what its problem was; the number decides.
  const std::string problem = fields.word("problem_type", "");
  if (problem == "multi_label_classification" || (problem == "regression" && c.labels > 1)) {
    fields.refuse("problem_type", absl::StrCat("\"", problem, "\" with ", c.labels,
                                               " labels is not available in this version; available: "
                                               "single_label_classification, and regression with one label"));
  }
}

void read_encoder(Fields& fields, ModelConfig& c) {
  c.max_positions = 512;
  c.norm_epsilon = 1e-12;
  c.token_types = 2;
  c.hidden_dropout = c.attention_dropout = 0.1;
  c.pad_token = fields.token("pad_token_id", c.architecture == Architecture::kRoberta ? 1 : 0);
  fields.integer("max_position_embeddings", 1, c.max_positions);
  fields.integer("type_vocab_size", 1, c.token_types);
  fields.positive("layer_norm_eps", c.norm_epsilon);
  fields.probability("hidden_dropout_prob", c.hidden_dropout);
  fields.probability("attention_probs_dropout_prob", c.attention_dropout);
  c.classifier_dropout = c.hidden_dropout;
  fields.probability("classifier_dropout", c.classifier_dropout);
  const std::string activation = fields.word("hidden_act", "gelu");
  c.tanh_gelu = activation == "gelu_new" || activation == "gelu_pytorch_tanh" || activation == "gelu_fast";
  fields.refuse_unless(c.tanh_gelu || activation == "gelu" || activation == "gelu_python", "hidden_act",
                       absl::StrCat("\"", activation, "\" is not available for ", architecture_name(c.architecture),
                                    "; one of gelu, gelu_new, gelu_pytorch_tanh"));
  const std::string positions = fields.word("position_embedding_type", "absolute");
  fields.refuse_unless(positions == "absolute", "position_embedding_type",
                       absl::StrCat("\"", positions, "\" is not available in this version; available: absolute"));
  fields.only_if_idle({"is_decoder", "add_cross_attention", "pruned_heads"});
  read_labels(fields, c);
  if (!fields.status().ok()) return;
  c.key_value_heads = c.heads;
  if (c.hidden % c.heads != 0)
    return fields.refuse("hidden_size", absl::StrCat(c.hidden, " is not a multiple of num_attention_heads ", c.heads));
  c.head_dimension = c.hidden / c.heads;
  if (c.longest_sequence() < 1) {
    fields.refuse("max_position_embeddings",
                  absl::StrCat(c.max_positions, " leaves no position after pad_token_id ", c.pad_token));
  }
}

// The architecture by `model_type`; `architectures` must not name something that is built otherwise.
void read_architecture(Fields& fields, ModelConfig& c) {
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

absl::StatusOr<ModelConfig> from_json(Json json, absl::string_view where,
                                      const std::vector<std::pair<std::string, std::string>>& overrides) {
  if (absl::Status s = refuse_unknown_overrides(overrides); !s.ok()) return s;
  for (const auto& [field, text] : overrides) {
    json[field] = Json::parse(text);
    // Of two ways to say the same, the override's counts.
    if (field == "rope_scaling") json.erase("rope_parameters");
    if (field == "rope_theta" && json.contains("rope_parameters") && json["rope_parameters"].is_object())
      json["rope_parameters"].erase("rope_theta");
  }
  Fields fields(json, where);
  ModelConfig c;
  read_architecture(fields, c);
  fields.only_if_idle({"quantization_config"});
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    fields.require(field);
  }
  fields.integer("vocab_size", 1, c.vocabulary);
  fields.integer("hidden_size", 1, c.hidden);
  fields.integer("intermediate_size", 1, c.intermediate);
  fields.integer("num_hidden_layers", 1, c.layers);
  fields.integer("num_attention_heads", 1, c.heads);
  fields.positive("initializer_range", c.initializer_range);
  fields.refuse_unless(c.layers <= 10000, "num_hidden_layers", "must be at most 10000");
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
  return c;
}

Json rope_to_json(const RopeScaling& rope) {
  if (rope.type == RopeType::kDefault) return nullptr;
  Json json = {{"factor", rope.factor}};
  for (const auto& [name, type] : kRopeTypes) {
    if (type == rope.type) json["rope_type"] = name;
  }
  if (rope.original_positions > 0) json["original_max_position_embeddings"] = rope.original_positions;
  if (rope.type == RopeType::kLlama3) {
    json["low_freq_factor"] = rope.low_frequency_factor;
    json["high_freq_factor"] = rope.high_frequency_factor;
  }
  if (rope.type == RopeType::kYarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncate"] = rope.truncate;
    if (rope.attention_factor > 0) json["attention_factor"] = rope.attention_factor;
    if (rope.mscale > 0) json["mscale"] = rope.mscale;
    if (rope.mscale_all_dimensions > 0) json["mscale_all_dim"] = rope.mscale_all_dimensions;
  }
  return json;
}

void decoder_to_json(const ModelConfig& c, Json& json) {
  json["num_key_value_heads"] = c.key_value_heads;
  json["head_dim"] = c.head_dimension;
  json["rms_norm_eps"] = c.norm_epsilon;
  json["rope_theta"] = c.rope_theta;
  json["rope_scaling"] = rope_to_json(c.rope);
  json["tie_word_embeddings"] = c.tied_embeddings;
  json["hidden_act"] = "silu";
  switch (c.architecture) {
    case Architecture::kLlama:
      json["attention_bias"] = c.query_key_value_bias;
      json["mlp_bias"] = c.mlp_bias;
      break;
    case Architecture::kMistral:
      json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
      break;
    default:
      if (c.architecture == Architecture::kQwen3) json["attention_bias"] = c.query_key_value_bias;
      json["use_sliding_window"] = c.sliding_window > 0;
      json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json(nullptr);
      json["layer_types"] = Json::array();
      for (int64_t l = 0; l < c.layers; ++l)
        json["layer_types"].push_back(c.window_of(l) > 0 ? "sliding_attention" : "full_attention");
  }
}

void encoder_to_json(const ModelConfig& c, Json& json) {
  json["layer_norm_eps"] = c.norm_epsilon;
  json["type_vocab_size"] = c.token_types;
  json["hidden_act"] = c.tanh_gelu ? "gelu_new" : "gelu";
  json["hidden_dropout_prob"] = c.hidden_dropout;
  json["attention_probs_dropout_prob"] = c.attention_dropout;
  json["classifier_dropout"] = c.classifier_dropout;
  json["position_embedding_type"] = "absolute";
  json["problem_type"] = c.regression() ? "regression" : "single_label_classification";
  json["id2label"] = Json::object();
  json["label2id"] = Json::object();
  for (int64_t i = 0; i < c.labels; ++i) {
    const std::string name = c.label_names.empty() ? absl::StrCat("LABEL_", i) : c.label_names[i];
    json["id2label"][absl::StrCat(i)] = name;
    json["label2id"][name] = i;
  }
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
      {"initializer_range", c.initializer_range},
      {"torch_dtype", std::string(torch_dtype)}};
  for (const auto& [field, id] : {std::pair("bos_token_id", c.bos_token), std::pair("eos_token_id", c.eos_token),
                                  std::pair("pad_token_id", c.pad_token)}) {
    json[field] = id >= 0 ? Json(id) : Json(nullptr);
  }
  if (c.encoder()) {
    encoder_to_json(c, json);
  } else {
    decoder_to_json(c, json);
  }
  return json.dump(2) + "\n";
}

}  // namespace galleon
