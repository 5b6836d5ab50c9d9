#include "worker/engine/model/decoder.h"

#include <algorithm>

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/reduction.h"

namespace galleon {

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
  for (Tensor* t : {&b.dattended, &b.dq, &b.dk, &b.dv}) {
    if (t->rows > 0) *t = top(*t);
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
    const AcquiredWeights held(weights(), embedding_, blocks_.empty() ? -1 : blocks_[0].query.weight);
    embedding(device_, top(ids_), layers_.weight(embedding_), top(blocks_.empty() ? last_ : blocks_[0].input));
  }
  Tensor middle;
  for (size_t l = 0; l < blocks_.size(); ++l) {
    const AcquiredWeights held(weights(), blocks_[l].query.weight,
                               l + 1 < blocks_.size() ? blocks_[l + 1].query.weight : head_);
    forward_block(blocks_[l], l == 0 ? nullptr : &middle, l + 1 < blocks_.size() ? blocks_[l + 1].input : last_);
    middle = top(blocks_[l].middle);
  }
  normalize(top(last_), blocks_.empty() ? nullptr : &middle, final_norm_, top(last_normed_), top(inverse_rms_last_));
}

double Decoder::head_loss() {
  const AcquiredWeights held(weights(), head_);
  for (int64_t begin = 0; begin < tokens(); begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens() - begin);
    const Tensor logits = logits_.row_range(0, count);
    layers_.forward({head_}, last_normed_.row_range(begin, count), logits);
    cross_entropy_forward(device_, logits, targets_.row_range(begin, count), losses_.row_range(begin, count));
  }
  return sum(device_, top(losses_));
}

double Decoder::head_backward(float scale, GradientSink& sink) {
  const AcquiredWeights held(weights(), head_, blocks_.empty() ? -1 : blocks_.back().query.weight);
  const bool by_rows = dlogits_.data != nullptr;
  for (int64_t begin = 0; begin < tokens(); begin += head_rows_) {
    const int64_t count = std::min(head_rows_, tokens() - begin);
    const Tensor logits = logits_.row_range(0, count);
    const Tensor x = last_normed_.row_range(begin, count);
    layers_.forward({head_}, x, logits);
    const Tensor dlogits = by_rows ? dlogits_.row_range(begin, count) : gradient_over(logits, type_);
    cross_entropy(device_, logits, targets_.row_range(begin, count), scale, losses_.row_range(begin, count), dlogits,
                  z_loss());
    const Tensor dx = dlast_normed_.row_range(begin, count);
    if (by_rows) {
      layers_.backward_input(head_, dlogits, dx);
    } else {
      layers_.backward_part(head_, x, dlogits, dx, sink);
    }
  }
  if (by_rows) {
    layers_.backward_by_rows(head_, top(last_normed_), top(dlogits_), sink);
  } else if (!config().tied_embeddings) {
    layers_.finished(head_, sink);
  }
  return sum(device_, top(losses_));
}

void Decoder::recompute_input(const Block& before, const Block& block) {
  const Block b = of_pass(before);
  const Tensor input = top(block.input);
  rms_norm_recompute(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, top(normed_));
  forward_within_block(b);
  swiglu(device_, b.gates, b.ups, top(activated_));
  layers_.forward(b.down, top(activated_), input);
  add(device_, b.middle, input);
}

void Decoder::backward_block(const Block& whole, GradientSink& sink) {
  const Block b = of_pass(whole);
  const Tensor normed = top(normed_);
  const Tensor activated = top(activated_);
  const Tensor dx = top(dx_);
  const Tensor dnormed = top(dnormed_);
  // The last block's activations are still those of the forward, unless the head has used their memory.
  const bool still_there = &whole == &blocks_.back() && dlogits_.data == nullptr;
  if (kept_ == Activations::kBlockInputs && !still_there) {
    rms_norm_recompute(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, normed);
    forward_within_block(b);
  }
  // MLP. Gradients take the place of what they belong to: of gates, ups, and of their product, which is there again.
  swiglu(device_, b.gates, b.ups, activated);
  layers_.backward(b.down, activated, dx, activated, 0.0F, sink);
  swiglu_backward(device_, b.gates, b.ups, activated, b.gates, b.ups);
  rms_norm_recompute(device_, b.middle, layers_.weight(b.mlp_norm), b.inverse_rms_mlp, normed);
  layers_.backward(b.gate, normed, b.gates, dnormed, 0.0F, sink);
  layers_.backward(b.up, normed, b.ups, dnormed, 1.0F, sink);
  rms_norm_backward(device_, b.middle, layers_.weight(b.mlp_norm), b.inverse_rms_mlp, dnormed, dx,
                    layers_.dense_gradient(b.mlp_norm, sink));
  layers_.finished(b.mlp_norm, sink);

  // Attention.
  layers_.backward(b.output, b.attended, dx, b.dattended, 0.0F, sink);
  attention_backward(device_, attention_shape(b), b.q, b.k, b.v, b.attended, b.log_sum, b.dattended, b.dq, b.dk, b.dv);
  rotary(device_, b.dq, rotary_, length_, config().head_dimension, true);
  rotary(device_, b.dk, rotary_, length_, config().head_dimension, true);
  if (config().query_key_norm) {
    head_norm_backward(b.query_norm, b.raw_q, b.inverse_rms_q, b.dq, sink);
    head_norm_backward(b.key_norm, b.raw_k, b.inverse_rms_k, b.dk, sink);
  }
  rms_norm_recompute(device_, b.input, layers_.weight(b.attention_norm), b.inverse_rms_attention, normed);
  layers_.backward(b.query, normed, b.dq, dnormed, 0.0F, sink);
  layers_.backward(b.key, normed, b.dk, dnormed, 1.0F, sink);
  layers_.backward(b.value, normed, b.dv, dnormed, 1.0F, sink);
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
  rms_norm_backward(device_, top(last_), layers_.weight(final_norm_), top(inverse_rms_last_), top(dlast_normed_),
                    top(dx_), layers_.dense_gradient(final_norm_, sink));
  layers_.finished(final_norm_, sink);
  const std::vector<RecomputeOrder::Visit>& visits = order_.visits();
  bool first_visit = true;  // of the first block
  for (size_t i = 0; i < visits.size(); ++i) {
    const Block& block = blocks_[visits[i].block];
    const int next = i + 1 < visits.size() ? blocks_[visits[i + 1].block].query.weight : -1;
    const AcquiredWeights held(weights(), block.query.weight, next);
    if (recomputes_embedding_ && visits[i].block == 0 && first_visit) {
      embedding(device_, top(ids_), layers_.weight(embedding_), top(block.input));
      first_visit = false;
    }
    if (visits[i].backward) {
      backward_block(block, sink);
    } else {
      recompute_input(block, blocks_[visits[i].block + 1]);
    }
  }
  if (layers_.wanted_by_rows(embedding_)) {
    embedding_by_rows(batch, sink);
  } else {
    if (layers_.trained(embedding_))
      embedding_backward(device_, top(ids_), top(dx_), layers_.dense_gradient(embedding_, sink));
    layers_.finished(embedding_, sink);
  }
  layers_.end_training();
  return loss;
}

// Tokens are sorted by the range that their row lies in, those of a range in their own order: the sums have the same
// bits as over the whole table.
void Decoder::embedding_by_rows(const Batch& batch, GradientSink& sink) {
  const int64_t at_once = layers_.rows_at_once(embedding_, sink);
  const auto ranges = static_cast<size_t>(ceil_div(config().vocabulary, at_once));
  // Begins of the ranges among the sorted tokens. Without ids all are in the first: the work is the same.
  std::vector<int64_t> begins(ranges + 1, tokens());
  begins[0] = 0;
  const Tensor ids = top(ids_);
  const Tensor places = top(targets_);
  if (device_.executes()) {
    begins.assign(ranges + 1, 0);
    for (const int32_t id : batch.ids) ++begins[id / at_once + 1];
    for (size_t range = 0; range < ranges; ++range) begins[range + 1] += begins[range];
    std::vector<int64_t> next(begins.begin(), begins.end() - 1);
    std::vector<int32_t> sorted_ids(batch.ids.size());
    std::vector<int32_t> sorted_places(batch.ids.size());
    for (size_t t = 0; t < batch.ids.size(); ++t) {
      const int64_t at = next[batch.ids[t] / at_once]++;
      sorted_ids[at] = static_cast<int32_t>(batch.ids[t] % at_once);
      sorted_places[at] = static_cast<int32_t>(t);
    }
    device_.upload(ids, sorted_ids.data());
    device_.upload(places, sorted_places.data());
  }
  const Tensor sorted = top(normed_);
  embedding(device_, places, top(dx_), sorted);
  layers_.by_rows(embedding_, sink, [&](int64_t first, const Tensor& gradient) {
    const int64_t begin = begins[first / at_once];
    const int64_t count = begins[first / at_once + 1] - begin;
    fill(device_, gradient, 0.0F);
    embedding_backward(device_, ids.row_range(begin, count), sorted.row_range(begin, count), gradient);
  });
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
  layers_.forward({head_}, last_normed_.row_range(length_ - 1, 1), logits);
  std::vector<float> values(config().vocabulary);
  device_.download(values.data(), logits);
  return values;
}

}  // namespace galleon
