#include "worker/engine/checkpoint/peft_adapter.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

constexpr const char* kHead = "lm_head";

// The layer that a parameter is of, in the names of transformers' modules.
std::string layer_of(const Parameter& p) {
  return p.name.substr(0, p.name.rfind('.'));
}

// What is saved with a parameter that is trained whole: its layer, or the classifier that its layer is part of, which
// peft saves as one by itself.
std::string saved_with(const Parameter& p) {
  std::string name = layer_of(p);
  if (p.group == ParameterGroup::kClassifier) {
    for (const char* layer : {".dense", ".out_proj"}) name = std::string(absl::StripSuffix(name, layer));
  }
  return name;
}

// For each of `chosen` its shortest ending, in whole parts, that none of `others` has: peft matches names by endings.
std::vector<std::string> shortest_endings(const std::set<std::string>& chosen, const std::set<std::string>& others) {
  std::set<std::string> endings;
  for (const std::string& name : chosen) {
    size_t begin = name.size();
    std::string ending = name;
    while (begin > 0) {
      const size_t dot = name.rfind('.', begin - 1);
      begin = dot == std::string::npos ? 0 : dot;
      ending = dot == std::string::npos ? name : name.substr(dot + 1);
      const auto has_it = [&](const std::string& other) { return absl::EndsWith(other, ending); };
      if (std::none_of(others.begin(), others.end(), has_it)) break;
    }
    endings.insert(ending);
  }
  return {endings.begin(), endings.end()};
}

Json number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e9 ? Json(static_cast<int64_t>(value)) : Json(value);
}

}  // namespace

PeftAdapter peft_adapter(const ModelConfig& config, const std::vector<Parameter>& parameters, const LoraOptions& lora,
                         const std::string& base) {
  PeftAdapter adapter;
  std::set<std::string> layers;
  std::set<std::string> targets;
  std::set<std::string> saved;
  bool biases = false;
  const auto add = [&](const std::string& name, const Parameter& p) {
    adapter.tensors.push_back({absl::StrCat("base_model.model.", name), p.index});
  };
  for (const Parameter& p : parameters) {
    if (!p.of_adapter) layers.insert(layer_of(p));
    if (p.adapter >= 0) targets.insert(layer_of(p));
  }
  if (config.tied_embeddings) layers.insert(kHead);
  std::set<std::string> unsaved = layers;
  for (const Parameter& p : parameters) {
    if (p.trained < 0) continue;
    if (p.of_adapter) {
      add(p.name, p);
    } else if (targets.contains(layer_of(p))) {
      biases = true;
      add(absl::StrCat(layer_of(p), ".base_layer.bias"), p);
    } else {
      saved.insert(saved_with(p));
      unsaved.erase(layer_of(p));
      add(p.name, p);
      if (config.tied_embeddings && p.group == ParameterGroup::kEmbedding) {
        saved.insert(kHead);
        unsaved.erase(kHead);
        add(absl::StrCat(kHead, ".weight"), p);
      }
    }
  }
  std::set<std::string> unadapted;
  std::set_difference(layers.begin(), layers.end(), targets.begin(), targets.end(),
                      std::inserter(unadapted, unadapted.end()));
  const Json whole = saved.empty() ? Json() : Json(shortest_endings(saved, unsaved));
  const Json json = {{"peft_type", "LORA"},
                     {"task_type", config.encoder() ? "SEQ_CLS" : "CAUSAL_LM"},
                     {"base_model_name_or_path", base},
                     {"revision", nullptr},
                     {"inference_mode", true},
                     {"r", lora.rank},
                     {"lora_alpha", number(lora.alpha)},
                     {"lora_dropout", lora.dropout},
                     {"target_modules", shortest_endings(targets, unadapted)},
                     {"modules_to_save", whole},
                     {"bias", biases ? "all" : "none"},
                     {"fan_in_fan_out", false},
                     {"init_lora_weights", true},
                     {"use_rslora", false},
                     {"use_dora", false},
                     {"rank_pattern", Json::object()},
                     {"alpha_pattern", Json::object()}};
  adapter.config = json.dump(2) + "\n";
  return adapter;
}

}  // namespace galleon
