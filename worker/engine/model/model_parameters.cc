#include "worker/engine/model/model_parameters.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

// Collects parameters in order.
class Parameters {
 public:
  explicit Parameters(const std::optional<GaloreOptions>& galore) : galore_(galore) {}

  void matrix(std::string name, ParameterGroup group, int64_t out, int64_t in) {
    Parameter& p = add(std::move(name), group, out, in);
    const bool target = galore_.has_value() && ((group == ParameterGroup::kAttention && galore_->target_attention) ||
                                                (group == ParameterGroup::kMlp && galore_->target_mlp));
    if (!target) return;
    p.transposed = projects_rows(galore_->side, out, in);
    p.rank = std::min({galore_->rank, out, in});
    p.two_sided = galore_->side == ProjectionSide::kFull;
  }
  void vector(std::string name, ParameterGroup group, int64_t size, float initial) {
    Parameter& p = add(std::move(name), group, size, 1);
    p.vector = true;
    p.initial = initial;
  }
  // NAME.weight and, `with_bias`, NAME.bias.
  void linear(const std::string& name, ParameterGroup group, int64_t out, int64_t in, bool with_bias,
              int64_t head_rows = 0) {
    matrix(name + ".weight", group, out, in);
    all_.back().head_rows = head_rows;
    if (with_bias)
      vector(name + ".bias", group == ParameterGroup::kClassifier ? group : ParameterGroup::kBias, out, 0.0F);
  }
  void rms_norm(const std::string& name, int64_t size) { vector(name + ".weight", ParameterGroup::kNorm, size, 1.0F); }
  void layer_norm(const std::string& name, int64_t size) {
    vector(name + ".weight", ParameterGroup::kNorm, size, 1.0F);
    vector(name + ".bias", ParameterGroup::kBias, size, 0.0F);
  }
  // What is added from now on belongs to a block; -1: to none.
  void in_block(int64_t block) { block_ = static_cast<int>(block); }
  std::vector<Parameter> take() { return std::move(all_); }

 private:
  Parameter& add(std::string name, ParameterGroup group, int64_t out, int64_t in) {
    Parameter p;
    p.index = p.trained = static_cast<int>(all_.size());
    p.block = block_;
    p.name = std::move(name);
    p.group = group;
    p.out = out;
    p.in = in;
    all_.push_back(std::move(p));
    return all_.back();
  }

  const std::optional<GaloreOptions>& galore_;
  int block_ = -1;
  std::vector<Parameter> all_;
};

void add_decoder(const ModelConfig& c, Parameters& all) {
  all.matrix("model.embed_tokens.weight", ParameterGroup::kEmbedding, c.vocabulary, c.hidden);
  for (int64_t l = 0; l < c.layers; ++l) {
    all.in_block(l);
    const std::string prefix = absl::StrCat("model.layers.", l, ".");
    const std::string attention = prefix + "self_attn.";
    all.linear(attention + "q_proj", ParameterGroup::kAttention, c.query_width(), c.hidden, c.query_key_value_bias,
               c.head_dimension);
    all.linear(attention + "k_proj", ParameterGroup::kAttention, c.key_value_width(), c.hidden, c.query_key_value_bias,
               c.head_dimension);
    all.linear(attention + "v_proj", ParameterGroup::kAttention, c.key_value_width(), c.hidden, c.query_key_value_bias);
    all.linear(attention + "o_proj", ParameterGroup::kAttention, c.hidden, c.query_width(), c.output_bias);
    if (c.query_key_norm) {
      all.rms_norm(attention + "q_norm", c.head_dimension);
      all.rms_norm(attention + "k_norm", c.head_dimension);
    }
    all.linear(prefix + "mlp.gate_proj", ParameterGroup::kMlp, c.intermediate, c.hidden, c.mlp_bias);
    all.linear(prefix + "mlp.up_proj", ParameterGroup::kMlp, c.intermediate, c.hidden, c.mlp_bias);
    all.linear(prefix + "mlp.down_proj", ParameterGroup::kMlp, c.hidden, c.intermediate, c.mlp_bias);
    all.rms_norm(prefix + "input_layernorm", c.hidden);
    all.rms_norm(prefix + "post_attention_layernorm", c.hidden);
  }
  all.in_block(-1);
  all.rms_norm("model.norm", c.hidden);
  if (!c.tied_embeddings) all.matrix("lm_head.weight", ParameterGroup::kHead, c.vocabulary, c.hidden);
}

void add_encoder(const ModelConfig& c, Parameters& all) {
  const std::string body = absl::StrCat(architecture_name(c.architecture), ".");
  const std::string embeddings = body + "embeddings.";
  all.matrix(embeddings + "word_embeddings.weight", ParameterGroup::kEmbedding, c.vocabulary, c.hidden);
  all.matrix(embeddings + "position_embeddings.weight", ParameterGroup::kEmbedding, c.max_positions, c.hidden);
  all.matrix(embeddings + "token_type_embeddings.weight", ParameterGroup::kEmbedding, c.token_types, c.hidden);
  all.layer_norm(embeddings + "LayerNorm", c.hidden);
  for (int64_t l = 0; l < c.layers; ++l) {
    all.in_block(l);
    const std::string prefix = absl::StrCat(body, "encoder.layer.", l, ".");
    for (const char* name : {"query", "key", "value"}) {
      all.linear(absl::StrCat(prefix, "attention.self.", name), ParameterGroup::kAttention, c.hidden, c.hidden, true,
                 absl::string_view(name) == "value" ? 0 : c.head_dimension);
    }
    all.linear(prefix + "attention.output.dense", ParameterGroup::kAttention, c.hidden, c.hidden, true);
    all.layer_norm(prefix + "attention.output.LayerNorm", c.hidden);
    all.linear(prefix + "intermediate.dense", ParameterGroup::kMlp, c.intermediate, c.hidden, true);
    all.linear(prefix + "output.dense", ParameterGroup::kMlp, c.hidden, c.intermediate, true);
    all.layer_norm(prefix + "output.LayerNorm", c.hidden);
  }
  all.in_block(-1);
  const bool roberta = c.architecture == Architecture::kRoberta;
  all.linear(roberta ? "classifier.dense" : body + "pooler.dense", ParameterGroup::kClassifier, c.hidden, c.hidden,
             true);
  all.linear(roberta ? "classifier.out_proj" : "classifier", ParameterGroup::kClassifier, c.labels, c.hidden, true);
}

}  // namespace

std::vector<Parameter> model_parameters(const ModelConfig& config, const std::optional<GaloreOptions>& galore) {
  Parameters all(galore);
  if (config.encoder()) {
    add_encoder(config, all);
  } else {
    add_decoder(config, all);
  }
  return all.take();
}

}  // namespace galleon
