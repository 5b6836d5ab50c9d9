// Fields of config.json that decoders have: rotary positions, windows, heads, biases.
#include "worker/engine/model/config_fields.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

constexpr std::pair<const char*, RopeType> kRopeTypes[] = {{"default", RopeType::kDefault},
                                                           {"linear", RopeType::kLinear},
                                                           {"dynamic", RopeType::kDynamic},
                                                           {"llama3", RopeType::kLlama3},
                                                           {"yarn", RopeType::kYarn}};

// `rope_scaling` beside `rope_theta`, or both in `rope_parameters`, as newer versions of transformers write them. Of
// both, rope_scaling is what transformers apply.
void read_rope(ConfigFields& fields, ModelConfig& c) {
  fields.positive("rope_theta", c.rope_theta);
  const bool old = fields.given("rope_scaling") && !fields.json()["rope_scaling"].empty();
  const char* name = old ? "rope_scaling" : "rope_parameters";
  if (!fields.given(name)) return;
  const Json& json = fields.json()[name];
  if (!json.is_object()) return fields.refuse(name, "must be an object");
  for (const char* layers : {"full_attention", "sliding_attention"}) {
    if (json.contains(layers))
      return fields.refuse(name, absl::StrCat("has parameters for ", layers,
                                              " alone, which is not available in this "
                                              "version; available: one set for all layers"));
  }
  const std::string where = absl::StrCat(fields.where(), ": ", name);
  ConfigFields rope(json, where);
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
void read_windows(ConfigFields& fields, ModelConfig& c) {
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

}  // namespace

void read_decoder(ConfigFields& fields, ModelConfig& c) {
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

}  // namespace galleon
