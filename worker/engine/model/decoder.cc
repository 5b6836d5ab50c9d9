#include "worker/engine/model/decoder.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

// Logits of a chunk of tokens stay below this; a chunk is large enough for the products over the vocabulary to run at
// full speed.
constexpr int64_t kLogitBytes = 64LL << 20;
constexpr int64_t kLeastHeadRows = 128;

}  // namespace

Decoder::Decoder(const ModelConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
                 Activations activations, Arena& arena, const std::optional<LoraOptions>& lora)
    : Model(config, batch, sequence),
      layers_(parameters, arena.device(), lora),
      device_(arena.device()),
      type_(parameters.front().weight.type),
      kept_(activations) {
  const int64_t tokens = batch * sequence;
  const int64_t hidden = config.hidden;
  head_rows_ = std::min(tokens, std::max(kLeastHeadRows, kLogitBytes / (4 * config.vocabulary)));
  auto typed = [&](const std::string& name, int64_t rows, int64_t columns, DataType type) {
    return arena.tensor(name, MemoryCategory::kActivations, rows, columns, type);
  };
  auto activation = [&](const std::string& name, int64_t rows, int64_t columns) {
    return typed(name, rows, columns, type_);
  };
  // What is a sum or a logarithm stays in fp32.
  auto statistic = [&](const std::string& name, int64_t rows, int64_t columns) {
    return typed(name, rows, columns, DataType::kFloat32);
  };
  rotary_ = statistic("rotary table", sequence, config.head_dimension);
  ids_ = typed("ids", tokens, 1, DataType::kInt32);
  targets_ = typed("targets", tokens, 1, DataType::kInt32);
  losses_ = statistic("losses", tokens, 1);
  normed_ = activation("normed", tokens, hidden);
  activated_ = activation("activated", tokens, config.intermediate);
  logits_ = statistic("logits", head_rows_, config.vocabulary);

  ParameterOrder order(1);  // after the embedding
  blocks_.resize(config.layers);
  for (int64_t l = 0; l < config.layers; ++l) {
    Block& b = blocks_[l];
    // Without a backward nothing is kept from block to block, but the stream itself must not be overwritten while it is
    // read.
    const bool forward_alone = activations == Activations::kNone || activations == Activations::kText;
    const bool none_kept = forward_alone && l >= 2;
    const bool inputs_kept = activations == Activations::kBlockInputs && l >= 1;
    if (none_kept) b = blocks_[l - 2];
    if (inputs_kept) b = blocks_[0];
    b.query = order.linear(config.query_key_value_bias);
    b.key = order.linear(config.query_key_value_bias);
    b.value = order.linear(config.query_key_value_bias);
    b.output = order.linear(config.output_bias);
    b.query_norm = config.query_key_norm ? order.one() : -1;
    b.key_norm = config.query_key_norm ? order.one() : -1;
    b.gate = order.linear(config.mlp_bias);
    b.up = order.linear(config.mlp_bias);
    b.down = order.linear(config.mlp_bias);
    b.attention_norm = order.one();
    b.mlp_norm = order.one();
    b.window = config.window_of(l);
    const std::string prefix = absl::StrCat("block ", l, " ");
    if (none_kept && activations == Activations::kText) {
      b.k = activation(prefix + "k", tokens, config.key_value_width());
      b.v = activation(prefix + "v", tokens, config.key_value_width());
    }
    if (none_kept) continue;
    b.input = activation(prefix + "input", tokens, hidden);
    b.inverse_rms_attention = statistic(prefix + "inverse rms 1", tokens, 1);
    if (inputs_kept) continue;
    if (config.query_key_norm) {
      b.raw_q = activation(prefix + "raw q", tokens, config.query_width());
      b.raw_k = activation(prefix + "raw k", tokens, config.key_value_width());
      b.inverse_rms_q = statistic(prefix + "inverse rms q", tokens * config.heads, 1);
      b.inverse_rms_k = statistic(prefix + "inverse rms k", tokens * config.key_value_heads, 1);
    }
    b.q = activation(prefix + "q", tokens, config.query_width());
    b.k = activation(prefix + "k", tokens, config.key_value_width());
    b.v = activation(prefix + "v", tokens, config.key_value_width());
    b.attended = activation(prefix + "attended", tokens, config.query_width());
    b.log_sum = statistic(prefix + "log sum", batch * config.heads, sequence);
    b.middle = activation(prefix + "middle", tokens, hidden);
    b.inverse_rms_mlp = statistic(prefix + "inverse rms 2", tokens, 1);
    b.gates = activation(prefix + "gate", tokens, config.intermediate);
    b.ups = activation(prefix + "up", tokens, config.intermediate);
  }
  final_norm_ = order.one();
  head_ = config.tied_embeddings ? 0 : order.one();
  last_ = activation("last", tokens, hidden);
  inverse_rms_last_ = statistic("inverse rms last", tokens, 1);
  if (activations == Activations::kAll || activations == Activations::kBlockInputs) {
    dx_ = activation("dx", tokens, hidden);
    dnormed_ = activation("dnormed", tokens, hidden);
    dattended_ = activation("dattended", tokens, config.query_width());
    dq_ = activation("dq", tokens, config.query_width());
    dk_ = activation("dk", tokens, config.key_value_width());
    dv_ = activation("dv", tokens, config.key_value_width());
  }
}

AttentionShape Decoder::attention_shape(const Block& b) const {
  return {sequences_, length_, config().heads, config().key_value_heads, config().head_dimension, true, b.window};
}

Tensor Decoder::by_heads(const Tensor& t) const {
  return t.reshape(t.size() / config().head_dimension, config().head_dimension);
}

void Decoder::normalize(const Tensor& x, const Tensor* addition, int weight, const Tensor& y,
                        const Tensor& inverse_rms) {
  const auto epsilon = static_cast<float>(config().norm_epsilon);
  if (addition == nullptr) {
    rms_norm(device_, x, layers_.weight(weight), epsilon, y, inverse_rms);
  } else {
    add_rms_norm(device_, x, *addition, layers_.weight(weight), epsilon, y, inverse_rms);
  }
}

void Decoder::begin_pass(const Batch& batch, int64_t past) {
  check_batch(batch, device_.executes());
  sequences_ = batch.sequences;
  length_ = batch.length;
  past_ = past;
  if (past == 0) text_.clear();
  // The table is for all positions; where frequencies depend on the length of a sequence, for one length at a time.
  const RopeScaling& rope = config().rope;
  const int64_t length =
      rope.type == RopeType::kDynamic ? std::max(past_ + length_, config().max_positions) : sequence();
  if (length == rotary_length_) return;
  const RopeFrequencies frequencies =
      rope_frequencies(rope, config().rope_theta, config().head_dimension, config().max_positions, length);
  rotary_table(device_, rotary_, frequencies.values, frequencies.factor);
  rotary_length_ = length;
}

Decoder::Block Decoder::of_pass(const Block& whole) const {
  Block b = whole;
  for (Tensor* t :
       {&b.input, &b.inverse_rms_attention, &b.q, &b.attended, &b.middle, &b.inverse_rms_mlp, &b.gates, &b.ups}) {
    *t = top(*t);
  }
  b.keys = whole.k.row_range(0, past_ + tokens());
  b.values = whole.v.row_range(0, past_ + tokens());
  b.k = whole.k.row_range(past_, tokens());
  b.v = whole.v.row_range(past_, tokens());
  if (config().query_key_norm) {
    b.raw_q = top(b.raw_q);
    b.raw_k = top(b.raw_k);
    b.inverse_rms_q = b.inverse_rms_q.row_range(0, tokens() * config().heads);
    b.inverse_rms_k = b.inverse_rms_k.row_range(0, tokens() * config().key_value_heads);
  }
  // Rows of the pass's length without gaps, in the place of those there is room for.
  b.log_sum.rows = sequences_ * config().heads;
  b.log_sum.columns = b.log_sum.stride = length_;
  return b;
}

void Decoder::forward_block(const Block& whole, const Tensor* addition, const Tensor& output) {
  const Block b = of_pass(whole);
  normalize(b.input, addition, b.attention_norm, top(normed_), b.inverse_rms_attention);
  forward_within_block(b);
  swiglu(device_, b.gates, b.ups, top(activated_));
  layers_.forward(b.down, top(activated_), top(output));
}

void Decoder::forward_within_block(const Block& b) {
  const Tensor normed = top(normed_);
  const bool head_norms = config().query_key_norm;
  layers_.forward(b.query, normed, head_norms ? b.raw_q : b.q);
  layers_.forward(b.key, normed, head_norms ? b.raw_k : b.k);
  layers_.forward(b.value, normed, b.v);
  if (head_norms) {
    normalize(by_heads(b.raw_q), nullptr, b.query_norm, by_heads(b.q), b.inverse_rms_q);
    normalize(by_heads(b.raw_k), nullptr, b.key_norm, by_heads(b.k), b.inverse_rms_k);
  }
  const Tensor positions = rotary_.row_range(past_, rotary_.rows - past_);
  rotary(device_, b.q, positions, length_, config().head_dimension, false);
  rotary(device_, b.k, positions, length_, config().head_dimension, false);
  if (past_ == 0) {
    attention(device_, attention_shape(b), b.q, b.k, b.v, b.attended, b.log_sum);
  } else {
    AttentionShape shape = attention_shape(b);
    shape.sequence = past_ + 1;
    attention_of_last(device_, shape, b.q, b.keys, b.values, b.attended);
  }
  layers_.forward(b.output, b.attended, b.middle);

  normalize(b.middle, &b.input, b.mlp_norm, normed, b.inverse_rms_mlp);
  layers_.forward(b.gate, normed, b.gates);
  layers_.forward(b.up, normed, b.ups);
}

void Decoder::forward(const int32_t* ids) {
  device_.upload(top(ids_), ids);
  {
    const AcquiredWeights held(weights(), 0, blocks_.empty() ? -1 : blocks_[0].query.weight);
    embedding(device_, top(ids_), layers_.weight(0), top(blocks_.empty() ? last_ : blocks_[0].input));
  }
  Tensor middle;
  for (size_t l = 0; l < blocks_.size(); ++l) {
    const AcquiredWeights held(weights(), blocks_[l].query.weight,
                               l + 1 < blocks_.size() ? blocks_[l + 1].query.weight : head_);
    forward_block(blocks_[l], l == 0 ? nullptr : &middle, l + 1 < blocks_.size() ? blocks_[l + 1].input : last_);
    middle = top(blocks_[l].middle);
  }
  normalize(top(last_), blocks_.empty() ? nullptr : &middle, final_norm_, top(normed_), top(inverse_rms_last_));
}

double Decoder::head_loss() {
  const AcquiredWeights held(weights(), head_);
  for (int64_t begin = 0; begin < tokens(); begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens() - begin);
    const Tensor logits = logits_.row_range(0, count);
    layers_.forward({head_}, normed_.row_range(begin, count), logits);
    cross_entropy_forward(device_, logits, targets_.row_range(begin, count), losses_.row_range(begin, count));
  }
  return sum(device_, top(losses_));
}

double Decoder::head_backward(float scale, GradientSink& sink) {
  const AcquiredWeights held(weights(), head_, blocks_.empty() ? -1 : blocks_.back().query.weight);
  for (int64_t begin = 0; begin < tokens(); begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens() - begin);
    const Tensor logits = logits_.row_range(0, count);
    const Tensor x = normed_.row_range(begin, count);
    layers_.forward({head_}, x, logits);
    const Tensor dlogits = gradient_over(logits, type_);
    cross_entropy(device_, logits, targets_.row_range(begin, count), scale, losses_.row_range(begin, count), dlogits);
    layers_.backward_part(head_, x, dlogits, dnormed_.row_range(begin, count), sink);
  }
  if (!config().tied_embeddings) layers_.finished(head_, sink);
  return sum(device_, top(losses_));
}

void Decoder::backward_block(const Block& whole, GradientSink& sink) {
  const Block b = of_pass(whole);
  const Tensor normed = top(normed_);
  const Tensor activated = top(activated_);
  const Tensor dx = top(dx_);
  const Tensor dnormed = top(dnormed_);
  // The last block's activations are still those of the forward.
  if (kept_ == Activations::kBlockInputs && &whole != &blocks_.back()) {
    rms_norm_again(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, normed);
    forward_within_block(b);
  }
  // MLP. The gates' and ups' gradients take the place of their values; `activated` first holds the product again, then
  // its gradient lies in the workspace.
  swiglu(device_, b.gates, b.ups, activated);
  {
    const Workspace scratch(device_, activated.bytes());
    const Tensor dactivated = scratch.tensor(activated.rows, activated.columns, type_);
    layers_.backward(b.down, activated, dx, dactivated, 0.0F, sink);
    swiglu_backward(device_, b.gates, b.ups, dactivated, b.gates, b.ups);
  }
  rms_norm_again(device_, b.middle, layers_.weight(b.mlp_norm), b.inverse_rms_mlp, normed);
  layers_.backward(b.gate, normed, b.gates, dnormed, 0.0F, sink);
  layers_.backward(b.up, normed, b.ups, dnormed, 1.0F, sink);
  rms_norm_backward(device_, b.middle, layers_.weight(b.mlp_norm), b.inverse_rms_mlp, dnormed, dx,
                    layers_.dense_gradient(b.mlp_norm, sink));
  layers_.finished(b.mlp_norm, sink);

  // Attention.
  const Tensor dattended = top(dattended_);
  const Tensor dq = top(dq_);
  const Tensor dk = top(dk_);
  const Tensor dv = top(dv_);
  layers_.backward(b.output, b.attended, dx, dattended, 0.0F, sink);
  attention_backward(device_, attention_shape(b), b.q, b.k, b.v, b.attended, b.log_sum, dattended, dq, dk, dv);
  rotary(device_, dq, rotary_, length_, config().head_dimension, true);
  rotary(device_, dk, rotary_, length_, config().head_dimension, true);
  if (config().query_key_norm) {
    head_norm_backward(b.query_norm, b.raw_q, b.inverse_rms_q, dq, sink);
    head_norm_backward(b.key_norm, b.raw_k, b.inverse_rms_k, dk, sink);
  }
  rms_norm_again(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, normed);
  layers_.backward(b.query, normed, dq, dnormed, 0.0F, sink);
  layers_.backward(b.key, normed, dk, dnormed, 1.0F, sink);
  layers_.backward(b.value, normed, dv, dnormed, 1.0F, sink);
  rms_norm_backward(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, dnormed, dx,
                    layers_.dense_gradient(b.attention_norm, sink));
  layers_.finished(b.attention_norm, sink);
}

void Decoder::head_norm_backward(int norm, const Tensor& raw, const Tensor& inverse_rms, const Tensor& dy,
                                 GradientSink& sink) {
  const Workspace scratch(device_, raw.bytes());
  const Tensor draw = scratch.tensor(raw.rows, raw.columns, type_);
  fill(device_, draw, 0.0F);
  rms_norm_backward(device_, by_heads(raw), layers_.weight(norm), inverse_rms, by_heads(dy), by_heads(draw),
                    layers_.dense_gradient(norm, sink));
  copy(device_, draw, dy);
  layers_.finished(norm, sink);
}

double Decoder::forward_backward(const Batch& batch, float scale, GradientSink& sink, const PassPlace& place) {
  begin_pass(batch);
  layers_.begin_training(place);
  device_.upload(top(targets_), batch.targets.data());
  forward(batch.ids.data());
  const double loss = head_backward(scale, sink);
  fill(device_, top(dx_), 0.0F);
  rms_norm_backward(device_, top(last_), layers_.weight(final_norm_), top(inverse_rms_last_), top(dnormed_), top(dx_),
                    layers_.dense_gradient(final_norm_, sink));
  layers_.finished(final_norm_, sink);
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    const auto next = std::next(block);
    const AcquiredWeights held(weights(), block->query.weight, next != blocks_.rend() ? next->query.weight : -1);
    backward_block(*block, sink);
  }
  if (layers_.trained(0)) embedding_backward(device_, top(ids_), top(dx_), layers_.dense_gradient(0, sink));
  layers_.finished(0, sink);
  layers_.end_training();
  return loss;
}

double Decoder::forward_loss(const Batch& batch) {
  begin_pass(batch);
  device_.upload(top(targets_), batch.targets.data());
  forward(batch.ids.data());
  return head_loss();
}

std::vector<float> Decoder::next_logits(const std::vector<int32_t>& ids) {
  return last_logits(ids, 0);
}

std::vector<float> Decoder::extend_text(const std::vector<int32_t>& ids) {
  // A pass from the first position on forgets the text.
  std::vector<int32_t> text = std::move(text_);
  const size_t before = text.size();
  const auto total = static_cast<int64_t>(before + ids.size());
  GALLEON_CHECK(kept_ == Activations::kText && !ids.empty() && total <= sequence())
      << "a text of " << before << " tokens cannot grow by " << ids.size() << " in a model with room for "
      << (kept_ == Activations::kText ? sequence() : 0);
  text.insert(text.end(), ids.begin(), ids.end());
  // Beyond the config's positions, dynamic frequencies turn with every further token, and all keys with them.
  const bool turning = config().rope.type == RopeType::kDynamic && total > config().max_positions;
  std::vector<float> logits;
  if (before == 0 || turning) {
    logits = last_logits(text, 0);
  } else {
    for (size_t i = before; i < text.size(); ++i) logits = last_logits({text[i]}, static_cast<int64_t>(i));
  }
  text_ = std::move(text);
  return logits;
}

// Of a pass over one sequence.
std::vector<float> Decoder::last_logits(const std::vector<int32_t>& ids, int64_t past) {
  Batch one;
  one.sequences = 1;
  one.length = static_cast<int64_t>(ids.size());
  one.ids = ids;
  begin_pass(one, past);
  forward(ids.data());
  const Tensor logits = logits_.row_range(0, 1);
  const AcquiredWeights held(weights(), head_);
  layers_.forward({head_}, normed_.row_range(length_ - 1, 1), logits);
  std::vector<float> values(config().vocabulary);
  device_.download(values.data(), logits);
  return values;
}

}  // namespace galleon
