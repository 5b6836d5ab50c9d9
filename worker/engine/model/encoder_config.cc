// Fields of config.json that encoders have: token types, dropout, labels.
#include "worker/engine/model/config_fields.h"

namespace galleon {

namespace {

// Each label's name is written into config.json, whatever number one was read.
constexpr int64_t kMostLabels = 100'000;

// label2id has to say the same as id2label, where it names the same labels at all.
void check_label_numbers(ConfigFields& fields, const std::vector<std::string>& names) {
  if (!fields.given("label2id") || names.empty()) return;
  const nlohmann::json& numbers = fields.json()["label2id"];
  for (size_t i = 0; i < names.size(); ++i) {
    if (!numbers.is_object() || !numbers.contains(names[i]) || !numbers[names[i]].is_number_integer()) continue;
    const auto number = numbers[names[i]].get<int64_t>();
    if (number != static_cast<int64_t>(i)) {
      fields.refuse("label2id",
                    absl::StrCat("gives \"", names[i], "\" the number ", number, ", and id2label gives it ", i));
    }
  }
}

// `num_labels`, or as many as `id2label` has; two where neither is given. One is a regression.
void read_labels(ConfigFields& fields, ModelConfig& c) {
  c.labels = 2;
  if (fields.given("id2label")) {
    const nlohmann::json& names = fields.json()["id2label"];
    if (!names.is_object() || names.empty()) return fields.refuse("id2label", "must be an object of names");
    for (size_t i = 0; i < names.size(); ++i) {
      const auto name = names.find(absl::StrCat(i));
      if (name == names.end() || !name->is_string())
        return fields.refuse("id2label", absl::StrCat("has no name for label ", i));
      c.label_names.push_back(name->get<std::string>());
    }
    c.labels = static_cast<int64_t>(names.size());
  }
  check_label_numbers(fields, c.label_names);
  fields.integer("num_labels", 1, c.labels);
  fields.refuse_unless(c.labels <= kMostLabels, "num_labels", absl::StrCat("must be at most ", kMostLabels));
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

}  // namespace

void read_encoder(ConfigFields& fields, ModelConfig& c) {
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

void encoder_to_json(const ModelConfig& c, nlohmann::json& json) {
  json["layer_norm_eps"] = c.norm_epsilon;
  json["type_vocab_size"] = c.token_types;
  json["hidden_act"] = c.tanh_gelu ? "gelu_new" : "gelu";
  json["hidden_dropout_prob"] = c.hidden_dropout;
  json["attention_probs_dropout_prob"] = c.attention_dropout;
  json["classifier_dropout"] = c.classifier_dropout;
  json["position_embedding_type"] = "absolute";
  json["problem_type"] = c.regression() ? "regression" : "single_label_classification";
  json["id2label"] = nlohmann::json::object();
  json["label2id"] = nlohmann::json::object();
  for (int64_t i = 0; i < c.labels; ++i) {
    const std::string name = c.label_names.empty() ? absl::StrCat("LABEL_", i) : c.label_names[i];
    json["id2label"][absl::StrCat(i)] = name;
    json["label2id"][name] = i;
  }
}

}  // namespace galleon
