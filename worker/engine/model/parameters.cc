#include "worker/engine/model/parameters.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
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

std::vector<Parameter> model_parameters(const ModelConfig& c, const std::optional<GaloreOptions>& galore) {
  std::vector<Parameter> all;
  int block = -1;
  auto add = [&](std::string name, ParameterGroup group, int64_t out, int64_t in, bool vector = false) {
    Parameter p;
    p.block = block;
    p.index = p.trained = static_cast<int>(all.size());
    p.name = std::move(name);
    p.group = group;
    p.out = out;
    p.in = in;
    p.vector = vector;
    const bool target = galore.has_value() && ((group == ParameterGroup::kAttention && galore->target_attention) ||
                                               (group == ParameterGroup::kMlp && galore->target_mlp));
    if (target) {
      p.transposed = projects_rows(galore->side, out, in);
      p.rank = std::min({galore->rank, out, in});
      p.two_sided = galore->side == ProjectionSide::kFull;
    }
    all.push_back(std::move(p));
  };
  add("model.embed_tokens.weight", ParameterGroup::kEmbedding, c.vocabulary, c.hidden);
  for (int64_t l = 0; l < c.layers; ++l) {
    const std::string prefix = absl::StrCat("model.layers.", l, ".");
    block = static_cast<int>(l);
    add(prefix + "self_attn.q_proj.weight", ParameterGroup::kAttention, c.query_width(), c.hidden);
    add(prefix + "self_attn.k_proj.weight", ParameterGroup::kAttention, c.key_value_width(), c.hidden);
    add(prefix + "self_attn.v_proj.weight", ParameterGroup::kAttention, c.key_value_width(), c.hidden);
    add(prefix + "self_attn.o_proj.weight", ParameterGroup::kAttention, c.hidden, c.query_width());
    add(prefix + "mlp.gate_proj.weight", ParameterGroup::kMlp, c.intermediate, c.hidden);
    add(prefix + "mlp.up_proj.weight", ParameterGroup::kMlp, c.intermediate, c.hidden);
    add(prefix + "mlp.down_proj.weight", ParameterGroup::kMlp, c.hidden, c.intermediate);
    add(prefix + "input_layernorm.weight", ParameterGroup::kNorm, c.hidden, 1, true);
    add(prefix + "post_attention_layernorm.weight", ParameterGroup::kNorm, c.hidden, 1, true);
  }
  block = -1;
  add("model.norm.weight", ParameterGroup::kNorm, c.hidden, 1, true);
  if (!c.tied_embeddings) add("lm_head.weight", ParameterGroup::kHead, c.vocabulary, c.hidden);
  return all;
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
      fill(device, p.shard, 1.0F);
      if (p.master.data != nullptr) fill(device, p.master, 1.0F);
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
    hash = hash * 0x9E3779B97F4A7C15ULL + hash_bytes(device, p.weight);
  }
  return hash;
}

}  // namespace galleon
