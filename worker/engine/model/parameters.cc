#include "worker/engine/model/parameters.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/math/mix.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/random.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

constexpr int64_t kDrawnBytes = int64_t{4} << 20;  // of initial weights that exist in fp32 at a time

}  // namespace

bool projects_rows(ProjectionSide side, int64_t out, int64_t in) {
  switch (side) {
    case ProjectionSide::kStd:
      return out < in;
    case ProjectionSide::kReverseStd:
      return out >= in;
    case ProjectionSide::kLeft:
      return true;
    case ProjectionSide::kRight:
    case ProjectionSide::kFull:
      return false;
  }
  return false;
}

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
  void linear(const std::string& name, ParameterGroup group, int64_t out, int64_t in, bool with_bias) {
    matrix(name + ".weight", group, out, in);
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
    all.linear(attention + "q_proj", ParameterGroup::kAttention, c.query_width(), c.hidden, c.query_key_value_bias);
    all.linear(attention + "k_proj", ParameterGroup::kAttention, c.key_value_width(), c.hidden, c.query_key_value_bias);
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
      all.linear(absl::StrCat(prefix, "attention.self.", name), ParameterGroup::kAttention, c.hidden, c.hidden, true);
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

void allocate_weights(std::vector<Parameter>& parameters, const WeightStorage& storage, Arena& arena) {
  for (Parameter& p : parameters) {
    if (!p.sharded) p.shard_rows = p.rows();
    p.shard = arena.tensor(p.name, MemoryCategory::kWeights, p.shard_rows, p.columns(), storage.type);
    p.weight = p.sharded ? Tensor{nullptr, storage.type, p.rows(), p.columns(), p.columns()} : p.shard;
    if (storage.master && p.trained >= 0 && storage.type != DataType::kFloat32)
      p.master = arena.tensor(p.name + ".master", MemoryCategory::kWeights, p.shard_rows, p.columns());
  }
}

std::vector<Parameter> trained_parameters(const std::vector<Parameter>& parameters) {
  std::vector<Parameter> trained;
  for (const Parameter& p : parameters) {
    if (p.trained < 0) continue;
    trained.push_back(p);
    trained.back().index = p.trained;
  }
  return trained;
}

void initialize_weights(std::vector<Parameter>& parameters, Device& device, uint64_t seed, double deviation) {
  for (Parameter& p : parameters) {
    if (p.of_adapter) continue;
    if (p.vector) {
      fill(device, p.shard, p.initial);
      if (p.master.data != nullptr) fill(device, p.master, p.initial);
      continue;
    }
    // Drawn in pieces of whole rows of the Hugging Face layout.
    const int64_t height = std::clamp<int64_t>(kDrawnBytes / (4 * p.in), 1, p.out);
    const Workspace drawn_memory(device, height * p.in * 4);
    const Workspace turned_memory(device, p.transposed ? height * p.in * 4 : 0);
    for (int64_t begin = 0; begin < p.out; begin += height) {
      const int64_t count = std::min(height, p.out - begin);
      Tensor drawn = drawn_memory.tensor(count, p.in);
      fill_normal(device, drawn, seed, p.index, begin * p.in, 0.0F, static_cast<float>(deviation));
      if (p.transposed) {
        const Tensor turned = turned_memory.tensor(p.in, count);
        transpose(device, drawn, turned);
        drawn = turned;
      }
      // Of the piece, the stored rows that this rank holds.
      if (p.transposed) {
        const Tensor own = drawn.row_range(p.first_row, p.shard_rows);
        convert(device, own, p.shard.column_range(begin, count));
        if (p.master.data != nullptr) copy(device, own, p.master.column_range(begin, count));
        continue;
      }
      const int64_t first = std::max(begin, p.first_row);
      const int64_t last = std::min(begin + count, p.first_row + p.shard_rows);
      if (first >= last) continue;
      const Tensor own = drawn.row_range(first - begin, last - first);
      convert(device, own, p.shard.row_range(first - p.first_row, last - first));
      if (p.master.data != nullptr) copy(device, own, p.master.row_range(first - p.first_row, last - first));
    }
  }
}

namespace {

// stored: the rows of `shard`.
void upload_weight(const Parameter& p, Device& device, const float* stored) {
  if (p.shard_rows == 0) return;
  if (p.master.data != nullptr) device.upload(p.master, stored);
  if (p.shard.type == DataType::kFloat32) {
    device.upload(p.shard, stored);
    return;
  }
  std::vector<BFloat16> rounded(p.shard.size());
  for (size_t i = 0; i < rounded.size(); ++i) rounded[i] = math::to_bfloat16(stored[i]);
  device.upload(p.shard, rounded.data());
}

std::vector<float> download_weight(const Parameter& p, Device& device) {
  std::vector<float> stored(p.weight.size());
  if (p.weight.type == DataType::kFloat32) {
    device.download(stored.data(), p.weight);
    return stored;
  }
  std::vector<BFloat16> rounded(p.weight.size());
  device.download(rounded.data(), p.weight);
  for (size_t i = 0; i < rounded.size(); ++i) stored[i] = math::to_float(rounded[i]);
  return stored;
}

}  // namespace

void set_weight(const Parameter& p, Device& device, const float* values) {
  if (!p.transposed) {
    upload_weight(p, device, values + p.first_row * p.in);
    return;
  }
  std::vector<float> stored(p.shard_rows * p.out);
  for (int64_t i = 0; i < p.out; ++i) {
    for (int64_t j = 0; j < p.shard_rows; ++j) stored[j * p.out + i] = values[i * p.in + p.first_row + j];
  }
  upload_weight(p, device, stored.data());
}

std::vector<float> get_weight(const Parameter& p, Device& device) {
  GALLEON_CHECK(p.weight.data != nullptr) << p.name << " is not gathered";
  std::vector<float> stored = download_weight(p, device);
  if (!p.transposed) return stored;
  std::vector<float> values(p.out * p.in);
  for (int64_t j = 0; j < p.in; ++j) {
    for (int64_t i = 0; i < p.out; ++i) values[i * p.in + j] = stored[j * p.out + i];
  }
  return values;
}

uint64_t hash_weights(const std::vector<Parameter>& parameters, Device& device, WeightView& weights) {
  uint64_t hash = 0;
  WeightCursor cursor(weights);
  for (const Parameter& p : parameters) {
    cursor.visit(p.index);
    hash = math::mixed_seed(hash, hash_bytes(device, p.weight));
  }
  return hash;
}

}  // namespace galleon
