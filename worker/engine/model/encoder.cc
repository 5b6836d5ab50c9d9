#include "worker/engine/model/encoder.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "kernels/ops/dropout.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/layer_norm.h"
#include "kernels/ops/loss.h"
#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

// Passes of sequences of different lengths have a multiple of so many rows where there is room, so that products have
// few shapes.
constexpr int64_t kRowUnit = 32;

}  // namespace

void Encoder::begin_pass(const Batch& batch) {
  check_batch(batch, device_.executes());
  sequences_ = batch.sequences;
  length_ = batch.length;
  lay_out(batch);
  if (!device_.executes()) return;
  device_.upload(top(ids_), by_rows(batch.ids, 0).data());
  std::vector<int32_t> positions(sequences_ * length_);
  const auto first = static_cast<int32_t>(config().first_position());
  for (int64_t s = 0; s < sequences_; ++s)
    std::iota(positions.begin() + s * length_, positions.begin() + (s + 1) * length_, first);
  device_.upload(top(position_ids_), by_rows(positions, first).data());
  // A model with one token type does not tell a second sentence from a first, as RoBERTa does not.
  const bool typed = !batch.token_types.empty() && config().token_types > 1;
  device_.upload(top(type_ids_), (typed ? by_rows(batch.token_types, 0) : std::vector<int32_t>(tokens(), 0)).data());
  if (ragged_) device_.upload(starts_.row_range(0, std::ssize(row_starts_)), row_starts_.data());
  if (!numbered_) return;
  for (int64_t s = 0; s < sequences_; ++s) {
    std::iota(positions.begin() + s * length_, positions.begin() + (s + 1) * length_,
              static_cast<int32_t>(s * sequence()));
  }
  device_.upload(top(row_numbers_), by_rows(positions, 0).data());
}

void Encoder::lay_out(const Batch& batch) {
  ragged_ = !batch.lengths.empty();
  numbered_ = ragged_ || length_ < sequence();
  row_starts_.assign(1, 0);
  for (int64_t s = 0; s < sequences_; ++s)
    row_starts_.push_back(row_starts_.back() + static_cast<int32_t>(ragged_ ? batch.lengths[s] : length_));
  if (!ragged_) return;
  const int64_t unit = std::min(kRowUnit, length_);
  const int64_t rows = std::min(round_up(tokens(), unit), ids_.rows);
  if (rows > tokens()) row_starts_.push_back(static_cast<int32_t>(rows));
}

std::vector<int32_t> Encoder::by_rows(const std::vector<int32_t>& positions, int32_t filler) const {
  std::vector<int32_t> rows(tokens(), filler);
  for (int64_t s = 0; s < sequences_; ++s)
    std::copy_n(positions.begin() + s * length_, row_starts_[s + 1] - row_starts_[s], rows.begin() + row_starts_[s]);
  return rows;
}

Encoder::Block Encoder::of_pass(const Block& whole) const {
  Block b = whole;
  for (Tensor* t : {&b.input, &b.q, &b.k, &b.v, &b.attended, &b.attention_sum, &b.attention_statistics, &b.wide,
                    &b.mlp_sum, &b.mlp_statistics}) {
    *t = top(*t);
  }
  // Rows of the pass's length without gaps, in the place of those there is room for.
  b.log_sum.rows = attention_shape().batch * config().heads;
  b.log_sum.columns = b.log_sum.stride = length_;
  return b;
}

AttentionShape Encoder::attention_shape() const {
  return {std::ssize(row_starts_) - 1, length_, config().heads, config().heads, config().head_dimension, false, 0};
}

// A stream of random words for each place of a step, apart from those of initial weights (below 2³²) and of adapters
// (below 2⁶³: their step stands at 2³³).
DropoutMask Encoder::mask_of(Drop place, int64_t block, double probability) const {
  if (!layers_.place().has_value()) return {};
  const auto number = static_cast<uint64_t>(block * 8 + static_cast<int64_t>(place));
  const uint64_t stream = (uint64_t{1} << 63) + (static_cast<uint64_t>(layers_.place()->step + 1) << 20) + number;
  return {layers_.place()->seed, stream, 0, probability};
}

void Encoder::drop(Drop place, int64_t block, const Tensor& x, double probability) const {
  DropoutMask mask = mask_of(place, block, probability);
  if (mask.probability == 0) return;
  // Numbered as if every sequence were of full length, so that lengths of others do not matter.
  const bool pooled = place == Drop::kClassifier || place == Drop::kClassifierDense;
  const int64_t first = layers_.place()->first_token;
  mask.first = (pooled ? first / sequence() : first) * x.columns;
  if (!pooled) mask.row_numbers = layers_.row_numbers();
  dropout(device_, x, mask, x);
}

AttentionMask Encoder::attention_mask(int64_t block) const {
  AttentionMask mask;
  if (ragged_) mask.row_starts = starts_.row_range(0, std::ssize(row_starts_));
  mask.dropout = mask_of(Drop::kProbabilities, block, config().attention_dropout);
  if (mask.dropout.probability == 0) return mask;
  mask.span = sequence();
  const int64_t first = layers_.place()->first_token / sequence();
  mask.dropout.first = first * config().heads * mask.span * mask.span;
  return mask;
}

void Encoder::forward_embeddings() {
  const Tensor sum = top(embedding_sum_);
  const Tensor part = top(scratch_);
  for (const auto& [table, ids] :
       {std::pair(words_, ids_), std::pair(types_, type_ids_), std::pair(positions_, position_ids_)}) {
    const AcquiredWeights held(weights(), table);
    embedding(device_, top(ids), layers_.weight(table), table == words_ ? sum : part);
    if (table != words_) add(device_, part, sum);
  }
  const Tensor output = top(blocks_[0].input);
  layer_norm(device_, sum, layers_.weight(embedding_norm_.weight), layers_.weight(embedding_norm_.bias),
             static_cast<float>(config().norm_epsilon), output, top(embedding_statistics_));
  drop(Drop::kEmbeddings, 0, output, config().hidden_dropout);
}

void Encoder::forward_within_block(const Block& b) {
  const auto epsilon = static_cast<float>(config().norm_epsilon);
  layers_.forward(b.query, b.input, b.q);
  layers_.forward(b.key, b.input, b.k);
  layers_.forward(b.value, b.input, b.v);
  attention(device_, attention_shape(), b.q, b.k, b.v, b.attended, b.log_sum, attention_mask(b.number));
  layers_.forward(b.output, b.attended, b.attention_sum);
  drop(Drop::kAttention, b.number, b.attention_sum, config().hidden_dropout);
  const Tensor middle = top(scratch_);
  add_layer_norm(device_, b.attention_sum, b.input, layers_.weight(b.attention_norm.weight),
                 layers_.weight(b.attention_norm.bias), epsilon, middle, b.attention_statistics);
  layers_.forward(b.up, middle, b.wide);
  const Tensor activated = top(activated_);
  gelu(device_, b.wide, config().tanh_gelu, activated);
  layers_.forward(b.down, activated, b.mlp_sum);
  drop(Drop::kMlp, b.number, b.mlp_sum, config().hidden_dropout);
}

void Encoder::forward() {
  forward_embeddings();
  for (size_t l = 0; l < blocks_.size(); ++l) {
    const Block b = of_pass(blocks_[l]);
    const AcquiredWeights held(weights(), b.query.weight,
                               l + 1 < blocks_.size() ? blocks_[l + 1].query.weight : dense_.weight);
    forward_within_block(b);
    leave_block(b, top(l + 1 < blocks_.size() ? blocks_[l + 1].input : last_));
  }
}

void Encoder::leave_block(const Block& b, const Tensor& output) {
  add_layer_norm(device_, b.mlp_sum, top(scratch_), layers_.weight(b.mlp_norm.weight), layers_.weight(b.mlp_norm.bias),
                 static_cast<float>(config().norm_epsilon), output, b.mlp_statistics);
}

void Encoder::forward_head() {
  const Tensor first = first_.row_range(0, sequences_);
  const Tensor pooled = pooled_.row_range(0, sequences_);
  const Tensor dropped = dropped_.row_range(0, sequences_);
  for (int64_t s = 0; s < sequences_; ++s) copy(device_, last_.row_range(row_starts_[s], 1), first.row_range(s, 1));
  if (config().architecture == Architecture::kRoberta)
    drop(Drop::kClassifierDense, 0, first, config().classifier_dropout);
  {
    const AcquiredWeights held(weights(), dense_.weight);
    layers_.forward(dense_, first, pooled);
  }
  hyperbolic_tangent(device_, pooled, pooled);
  copy(device_, pooled, dropped);
  drop(Drop::kClassifier, 0, dropped, config().classifier_dropout);
  const AcquiredWeights held(weights(), classifier_.weight);
  layers_.forward(classifier_, dropped, outputs_.row_range(0, sequences_));
}

double Encoder::head_loss(const Batch& batch, std::optional<float> scale) {
  const Tensor outputs = outputs_.row_range(0, sequences_);
  const Tensor losses = losses_.row_range(0, sequences_);
  if (config().regression()) {
    const Tensor labels = labels_.row_range(0, sequences_);
    device_.upload(labels, batch.labels.data());
    squared_error(device_, outputs, labels, scale.value_or(0.0F), losses, scale.has_value() ? outputs : Tensor{});
    return sum(device_, losses);
  }
  const Tensor targets = targets_.row_range(0, sequences_);
  std::vector<int32_t> classes;
  for (const float label : batch.labels) {
    classes.push_back(static_cast<int32_t>(label));
    GALLEON_CHECK(classes.back() >= -1 && classes.back() < config().labels)
        << "label " << label << " of " << config().labels;
  }
  device_.upload(targets, classes.data());
  if (scale.has_value()) {
    cross_entropy(device_, outputs, targets, *scale, losses, outputs);
  } else {
    cross_entropy_forward(device_, outputs, targets, losses);
  }
  return sum(device_, losses);
}

void Encoder::backward_head(GradientSink& sink) {
  const Tensor first = first_.row_range(0, sequences_);
  const Tensor pooled = pooled_.row_range(0, sequences_);
  const Tensor dropped = dropped_.row_range(0, sequences_);
  const Tensor dpooled = dpooled_.row_range(0, sequences_);
  const Tensor outputs = outputs_.row_range(0, sequences_);
  {
    const Workspace scratch(device_, outputs.size() * bytes_of(type_));
    const Tensor doutputs = scratch.tensor(outputs.rows, outputs.columns, type_);
    convert(device_, outputs, doutputs);
    const AcquiredWeights held(weights(), classifier_.weight);
    layers_.backward(classifier_, dropped, doutputs, dpooled, 0.0F, sink);
  }
  drop(Drop::kClassifier, 0, dpooled, config().classifier_dropout);
  hyperbolic_tangent_backward(device_, pooled, dpooled, dpooled);
  // Only first tokens have a gradient here.
  const Tensor dx = top(dx_);
  fill(device_, dx, 0.0F);
  const Workspace scratch(device_, first.bytes());
  const Tensor dfirst = scratch.tensor(first.rows, first.columns, type_);
  {
    const AcquiredWeights held(weights(), dense_.weight);
    layers_.backward(dense_, first, dpooled, dfirst, 0.0F, sink);
  }
  if (config().architecture == Architecture::kRoberta)
    drop(Drop::kClassifierDense, 0, dfirst, config().classifier_dropout);
  for (int64_t s = 0; s < sequences_; ++s) copy(device_, dfirst.row_range(s, 1), dx.row_range(row_starts_[s], 1));
}

void Encoder::norm_backward(const Norm& norm, const Tensor& x, const Tensor& statistics, const Tensor& dy,
                            GradientSink& sink) {
  layer_norm_backward(device_, x, layers_.weight(norm.weight), statistics, dy, dy,
                      layers_.dense_gradient(norm.weight, sink), layers_.dense_gradient(norm.bias, sink));
  layers_.finished(norm.weight, sink);
  layers_.finished(norm.bias, sink);
}

void Encoder::backward_block(const Block& whole, GradientSink& sink) {
  const Block b = of_pass(whole);
  const Tensor dx = top(dx_);
  const Tensor dscratch = top(dscratch_);
  const Tensor activated = top(activated_);
  const Tensor middle = top(scratch_);
  // The last block's activations are still those of the forward.
  if (kept_ == Activations::kBlockInputs && &whole != &blocks_.back()) {
    forward_within_block(b);
    leave_block(b, dscratch);
  }
  // MLP: dx becomes the gradient of the sum, whose two parts go separate ways until they meet at the first norm.
  norm_backward(b.mlp_norm, b.mlp_sum, b.mlp_statistics, dx, sink);
  copy(device_, dx, dscratch);
  drop(Drop::kMlp, b.number, dscratch, config().hidden_dropout);
  gelu(device_, b.wide, config().tanh_gelu, activated);
  layers_.backward(b.down, activated, dscratch, activated, 0.0F, sink);
  gelu_backward(device_, b.wide, config().tanh_gelu, activated, b.wide);
  layer_norm_recompute(device_, b.attention_sum, layers_.weight(b.attention_norm.weight),
                       layers_.weight(b.attention_norm.bias), b.attention_statistics, middle);
  layers_.backward(b.up, middle, b.wide, dx, 1.0F, sink);

  // Attention.
  norm_backward(b.attention_norm, b.attention_sum, b.attention_statistics, dx, sink);
  copy(device_, dx, dscratch);
  drop(Drop::kAttention, b.number, dscratch, config().hidden_dropout);
  const Tensor dq = top(dq_);
  const Tensor dk = top(dk_);
  const Tensor dv = top(dv_);
  layers_.backward(b.output, b.attended, dscratch, middle, 0.0F, sink);
  attention_backward(device_, attention_shape(), b.q, b.k, b.v, b.attended, b.log_sum, middle, dq, dk, dv,
                     attention_mask(b.number));
  layers_.backward(b.query, b.input, dq, dx, 1.0F, sink);
  layers_.backward(b.key, b.input, dk, dx, 1.0F, sink);
  layers_.backward(b.value, b.input, dv, dx, 1.0F, sink);
}

void Encoder::backward_embeddings(GradientSink& sink) {
  const Tensor dx = top(dx_);
  drop(Drop::kEmbeddings, 0, dx, config().hidden_dropout);
  norm_backward(embedding_norm_, top(embedding_sum_), top(embedding_statistics_), dx, sink);
  for (const auto& [table, ids] :
       {std::pair(types_, type_ids_), std::pair(positions_, position_ids_), std::pair(words_, ids_)}) {
    if (layers_.trained(table)) embedding_backward(device_, top(ids), dx, layers_.dense_gradient(table, sink));
    layers_.finished(table, sink);
  }
}

double Encoder::forward_backward(const Batch& batch, float scale, GradientSink& sink, const PassPlace& place) {
  begin_pass(batch);
  layers_.begin_training(place, numbered_ ? top(row_numbers_) : Tensor{});
  forward();
  forward_head();
  const double loss = head_loss(batch, scale);
  backward_head(sink);
  const std::vector<RecomputeOrder::Visit>& visits = order_.visits();
  for (size_t i = 0; i < visits.size(); ++i) {
    const Block& block = blocks_[visits[i].block];
    const int next = i + 1 < visits.size() ? blocks_[visits[i + 1].block].query.weight : -1;
    const AcquiredWeights held(weights(), block.query.weight, next);
    if (visits[i].backward) {
      backward_block(block, sink);
      continue;
    }
    const Block recomputed = of_pass(block);
    forward_within_block(recomputed);
    leave_block(recomputed, top(blocks_[visits[i].block + 1].input));
  }
  backward_embeddings(sink);
  layers_.end_training();
  return loss;
}

double Encoder::forward_loss(const Batch& batch) {
  begin_pass(batch);
  forward();
  forward_head();
  return head_loss(batch, std::nullopt);
}

std::vector<float> Encoder::outputs(const Batch& batch) {
  begin_pass(batch);
  forward();
  forward_head();
  std::vector<float> values(sequences_ * config().labels);
  device_.download(values.data(), outputs_.row_range(0, sequences_));
  return values;
}

std::vector<float> Encoder::hidden_states(const Batch& batch) {
  begin_pass(batch);
  forward();
  std::vector<float> values(sequences_ * length_ * config().hidden);
  const Workspace scratch(device_, tokens() * config().hidden * 4);
  const Tensor wide = scratch.tensor(tokens(), config().hidden);
  convert(device_, top(last_), wide);
  for (int64_t s = 0; s < sequences_; ++s)
    device_.download(values.data() + s * length_ * config().hidden, of_sequence(wide, s));
  return values;
}

}  // namespace galleon
