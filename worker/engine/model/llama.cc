#include "worker/engine/model/llama.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

// Logits of a chunk of tokens stay below this; a chunk is large enough for the products over the vocabulary to run at
// full speed.
constexpr int64_t kLogitBytes = 64LL << 20;
constexpr int64_t kLeastHeadRows = 128;
constexpr int kParametersBefore = 1;  // the embedding
constexpr int kParametersOfBlock = 9;

}  // namespace

Llama::Llama(const LlamaConfig& config, std::vector<Parameter>& parameters, int64_t batch, int64_t sequence,
             Activations activations, Arena& arena, const std::optional<LoraOptions>& lora)
    : config_(config),
      parameters_(parameters),
      device_(arena.device()),
      batch_(batch),
      sequence_(sequence),
      type_(parameters.front().weight.type),
      kept_(activations),
      lora_(lora) {
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

  blocks_.resize(config.layers);
  for (int64_t l = 0; l < config.layers; ++l) {
    Block& b = blocks_[l];
    const int first = kParametersBefore + static_cast<int>(l) * kParametersOfBlock;
    // Without a backward nothing is kept from block to block, but the stream itself must not be overwritten while it is
    // read.
    const bool none_kept = activations == Activations::kNone && l >= 2;
    const bool inputs_kept = activations == Activations::kBlockInputs && l >= 1;
    if (none_kept) b = blocks_[l - 2];
    if (inputs_kept) b = blocks_[0];
    b.query = first, b.key = first + 1, b.value = first + 2, b.output = first + 3;
    b.gate = first + 4, b.up = first + 5, b.down = first + 6;
    b.attention_norm = first + 7, b.mlp_norm = first + 8;
    if (none_kept) continue;
    const std::string prefix = absl::StrCat("block ", l, " ");
    b.input = activation(prefix + "input", tokens, hidden);
    b.inverse_rms_attention = statistic(prefix + "inverse rms 1", tokens, 1);
    if (inputs_kept) continue;
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
  final_norm_ = kParametersBefore + static_cast<int>(config.layers) * kParametersOfBlock;
  last_ = activation("last", tokens, hidden);
  inverse_rms_last_ = statistic("inverse rms last", tokens, 1);
  if (activations != Activations::kNone) {
    dx_ = activation("dx", tokens, hidden);
    dnormed_ = activation("dnormed", tokens, hidden);
    dattended_ = activation("dattended", tokens, config.query_width());
    dq_ = activation("dq", tokens, config.query_width());
    dk_ = activation("dk", tokens, config.key_value_width());
    dv_ = activation("dv", tokens, config.key_value_width());
  }
  if (arena.status().ok()) rotary_table(device_, rotary_, static_cast<float>(config.rope_theta));
}

AttentionShape Llama::attention_shape(int64_t sequences) const {
  return {sequences, sequence_, config_.heads, config_.key_value_heads, config_.head_dimension};
}

int Llama::head_parameter() const {
  return config_.tied_embeddings ? 0 : final_norm_ + 1;
}

void Llama::project(int parameter, const Tensor& x, const Tensor& y) {
  const Parameter& p = parameters_[parameter];
  matmul(device_, x, Transpose::kNo, p.weight, p.transposed ? Transpose::kNo : Transpose::kYes, y);
  if (p.adapter >= 0) adapter_of(p).forward(device_, x, y);
}

Adapter Llama::adapter_of(const Parameter& p) const {
  const Parameter& a = parameters_[p.adapter];
  Adapter adapter{a, parameters_[p.adapter + 1], static_cast<float>(lora_->scale()), {}};
  if (place_.has_value()) adapter.mask = adapter_mask(*lora_, a, place_->step, place_->first_token);
  return adapter;
}

Tensor Llama::dense_gradient(int parameter, GradientSink& sink) {
  const int trained = parameters_[parameter].trained;
  return trained >= 0 ? sink.dense(trained) : Tensor{};
}

void Llama::finished(int parameter, GradientSink& sink) {
  const int trained = parameters_[parameter].trained;
  if (trained >= 0) sink.finished(trained);
}

void Llama::normalize(const Tensor& x, const Tensor* addition, int weight, const Tensor& y, const Tensor& inverse_rms) {
  const auto epsilon = static_cast<float>(config_.norm_epsilon);
  if (addition == nullptr) {
    rms_norm(device_, x, parameters_[weight].weight, epsilon, y, inverse_rms);
  } else {
    add_rms_norm(device_, x, *addition, parameters_[weight].weight, epsilon, y, inverse_rms);
  }
}

void Llama::project_backward(int parameter, const Tensor& x, const Tensor& dy, const Tensor& dx, float beta,
                             GradientSink& sink) {
  const Parameter& p = parameters_[parameter];
  matmul(device_, dy, Transpose::kNo, p.weight, p.transposed ? Transpose::kYes : Transpose::kNo, dx, 1.0F, beta);
  if (p.trained >= 0) sink.linear(p.trained, x, dy);
  if (p.adapter >= 0) adapter_of(p).backward(device_, x, dy, dx, sink);
  finished(parameter, sink);
}

void Llama::forward_block(const Block& b, const Tensor* addition, const Tensor& output, int64_t sequences) {
  const int64_t tokens = sequences * sequence_;
  auto top = [&](const Tensor& t) { return t.row_range(0, tokens); };
  normalize(top(b.input), addition, b.attention_norm, top(normed_), top(b.inverse_rms_attention));
  forward_within_block(b, sequences);
  swiglu(device_, top(b.gates), top(b.ups), top(activated_));
  project(b.down, top(activated_), top(output));
}

void Llama::forward_within_block(const Block& b, int64_t sequences) {
  const int64_t tokens = sequences * sequence_;
  auto top = [&](const Tensor& t) { return t.row_range(0, tokens); };
  const Tensor input = top(b.input);
  const Tensor middle = top(b.middle);
  const Tensor normed = top(normed_);
  project(b.query, normed, top(b.q));
  project(b.key, normed, top(b.k));
  project(b.value, normed, top(b.v));
  rotary(device_, top(b.q), rotary_, sequence_, config_.head_dimension, false);
  rotary(device_, top(b.k), rotary_, sequence_, config_.head_dimension, false);
  attention(device_, attention_shape(sequences), top(b.q), top(b.k), top(b.v), top(b.attended),
            b.log_sum.row_range(0, sequences * config_.heads));
  project(b.output, top(b.attended), middle);

  normalize(middle, &input, b.mlp_norm, normed, top(b.inverse_rms_mlp));
  project(b.gate, normed, top(b.gates));
  project(b.up, normed, top(b.ups));
}

void Llama::forward(const int32_t* ids, int64_t sequences) {
  const int64_t tokens = sequences * sequence_;
  device_.upload(ids_.row_range(0, tokens), ids);
  const Tensor first = (blocks_.empty() ? last_ : blocks_[0].input).row_range(0, tokens);
  {
    const AcquiredWeights held(*weights_, 0, blocks_.empty() ? -1 : blocks_[0].query);
    embedding(device_, ids_.row_range(0, tokens), parameters_[0].weight, first);
  }
  Tensor middle;
  for (size_t l = 0; l < blocks_.size(); ++l) {
    const AcquiredWeights held(*weights_, blocks_[l].query,
                               l + 1 < blocks_.size() ? blocks_[l + 1].query : head_parameter());
    forward_block(blocks_[l], l == 0 ? nullptr : &middle, l + 1 < blocks_.size() ? blocks_[l + 1].input : last_,
                  sequences);
    middle = blocks_[l].middle.row_range(0, tokens);
  }
  normalize(last_.row_range(0, tokens), blocks_.empty() ? nullptr : &middle, final_norm_, normed_.row_range(0, tokens),
            inverse_rms_last_.row_range(0, tokens));
}

double Llama::head_loss(int64_t tokens) {
  const AcquiredWeights held(*weights_, head_parameter());
  for (int64_t begin = 0; begin < tokens; begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens - begin);
    const Tensor logits = logits_.row_range(0, count);
    project(head_parameter(), normed_.row_range(begin, count), logits);
    cross_entropy_forward(device_, logits, targets_.row_range(begin, count), losses_.row_range(begin, count));
  }
  return sum(device_, losses_.row_range(0, tokens));
}

double Llama::head_backward(float scale, GradientSink& sink) {
  const int head = head_parameter();
  const AcquiredWeights held(*weights_, head, blocks_.empty() ? -1 : blocks_.back().query);
  const Parameter& p = parameters_[head];
  const int64_t tokens = batch_ * sequence_;
  for (int64_t begin = 0; begin < tokens; begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens - begin);
    const Tensor logits = logits_.row_range(0, count);
    const Tensor x = normed_.row_range(begin, count);
    project(head, x, logits);
    const Tensor dlogits = gradient_over(logits, type_);
    cross_entropy(device_, logits, targets_.row_range(begin, count), scale, losses_.row_range(begin, count), dlogits);
    matmul(device_, dlogits, Transpose::kNo, p.weight, Transpose::kNo, dnormed_.row_range(begin, count));
    if (p.trained >= 0) sink.linear(p.trained, x, dlogits);
  }
  if (!config_.tied_embeddings) finished(head, sink);
  return sum(device_, losses_);
}

void Llama::backward_block(const Block& b, GradientSink& sink) {
  const AttentionShape shape = attention_shape(batch_);
  // The last block's activations are still those of the forward.
  if (kept_ == Activations::kBlockInputs && &b != &blocks_.back()) {
    rms_norm_again(device_, b.input, parameters_[b.attention_norm].weight, b.inverse_rms_attention, normed_);
    forward_within_block(b, batch_);
  }
  // MLP. The gates' and ups' gradients take the place of their values; `activated_` first holds the product again, then
  // its gradient lies in the workspace.
  swiglu(device_, b.gates, b.ups, activated_);
  {
    const Workspace scratch(device_, activated_.bytes());
    const Tensor dactivated = scratch.tensor(activated_.rows, activated_.columns, type_);
    project_backward(b.down, activated_, dx_, dactivated, 0.0F, sink);
    swiglu_backward(device_, b.gates, b.ups, dactivated, b.gates, b.ups);
  }
  rms_norm_again(device_, b.middle, parameters_[b.mlp_norm].weight, b.inverse_rms_mlp, normed_);
  project_backward(b.gate, normed_, b.gates, dnormed_, 0.0F, sink);
  project_backward(b.up, normed_, b.ups, dnormed_, 1.0F, sink);
  rms_norm_backward(device_, b.middle, parameters_[b.mlp_norm].weight, b.inverse_rms_mlp, dnormed_, dx_,
                    dense_gradient(b.mlp_norm, sink));
  finished(b.mlp_norm, sink);

  // Attention.
  project_backward(b.output, b.attended, dx_, dattended_, 0.0F, sink);
  attention_backward(device_, shape, b.q, b.k, b.v, b.attended, b.log_sum, dattended_, dq_, dk_, dv_);
  rotary(device_, dq_, rotary_, sequence_, config_.head_dimension, true);
  rotary(device_, dk_, rotary_, sequence_, config_.head_dimension, true);
  rms_norm_again(device_, b.input, parameters_[b.attention_norm].weight, b.inverse_rms_attention, normed_);
  project_backward(b.query, normed_, dq_, dnormed_, 0.0F, sink);
  project_backward(b.key, normed_, dk_, dnormed_, 1.0F, sink);
  project_backward(b.value, normed_, dv_, dnormed_, 1.0F, sink);
  rms_norm_backward(device_, b.input, parameters_[b.attention_norm].weight, b.inverse_rms_attention, dnormed_, dx_,
                    dense_gradient(b.attention_norm, sink));
  finished(b.attention_norm, sink);
}

double Llama::forward_backward(const int32_t* ids, const int32_t* targets, float scale, GradientSink& sink,
                               const PassPlace& place) {
  place_ = place;
  device_.upload(targets_, targets);
  forward(ids, batch_);
  const double loss = head_backward(scale, sink);
  fill(device_, dx_, 0.0F);
  rms_norm_backward(device_, last_, parameters_[final_norm_].weight, inverse_rms_last_, dnormed_, dx_,
                    dense_gradient(final_norm_, sink));
  finished(final_norm_, sink);
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    const auto next = std::next(block);
    const AcquiredWeights held(*weights_, block->query, next != blocks_.rend() ? next->query : -1);
    backward_block(*block, sink);
  }
  if (parameters_[0].trained >= 0) embedding_backward(device_, ids_, dx_, dense_gradient(0, sink));
  finished(0, sink);
  place_.reset();
  return loss;
}

double Llama::forward_loss(const int32_t* ids, const int32_t* targets, int64_t sequences) {
  GALLEON_CHECK(sequences >= 1 && sequences <= batch_) << sequences;
  device_.upload(targets_.row_range(0, sequences * sequence_), targets);
  forward(ids, sequences);
  return head_loss(sequences * sequence_);
}

std::vector<float> Llama::next_logits(const int32_t* ids, int64_t position) {
  GALLEON_CHECK(position >= 0 && position < sequence_) << position;
  // What follows `position` does not reach it: attention is causal.
  std::vector<int32_t> padded(sequence_, 0);
  std::copy_n(ids, position + 1, padded.begin());
  forward(padded.data(), 1);
  const Tensor logits = logits_.row_range(0, 1);
  const AcquiredWeights held(*weights_, head_parameter());
  project(head_parameter(), normed_.row_range(position, 1), logits);
  std::vector<float> values(config_.vocabulary);
  device_.download(values.data(), logits);
  return values;
}

}  // namespace galleon
