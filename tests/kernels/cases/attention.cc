// Attention and rotary positions.
#include "tests/kernels/cases/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace galleon {

namespace {

bool sees(const AttentionShape& s, int64_t i, int64_t j) {
  return (!s.causal || j <= i) && (s.window == 0 || i - j < s.window);
}

}  // namespace

Values attention_exactly(const AttentionShape& s, const Values& q, const Values& k, const Values& v, Values* logs,
                         const Left& left) {
  const int64_t wide = s.heads * s.head_dimension;
  const int64_t narrow = s.key_value_heads * s.head_dimension;
  Values out(static_cast<size_t>(s.tokens() * wide));
  for (int64_t unit = 0; unit < s.batch * s.heads; ++unit) {
    const int64_t start = unit / s.heads * s.sequence;
    const int64_t h = unit % s.heads;
    const int64_t g = h / (s.heads / s.key_value_heads);
    const int64_t length = left.lengths.empty() ? s.sequence : left.lengths[unit / s.heads];
    for (int64_t i = 0; i < s.sequence; ++i) {
      if (i >= length) {
        if (logs != nullptr) logs->push_back(0);
        continue;
      }
      Values scores(static_cast<size_t>(length), -std::numeric_limits<double>::infinity());
      for (int64_t j = 0; j < length; ++j) {
        if (!sees(s, i, j)) continue;
        scores[j] = 0;
        for (int64_t d = 0; d < s.head_dimension; ++d) {
          scores[j] +=
              q[(start + i) * wide + h * s.head_dimension + d] * k[(start + j) * narrow + g * s.head_dimension + d];
        }
        scores[j] /= std::sqrt(static_cast<double>(s.head_dimension));
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& score : scores) sum += score = std::exp(score - largest);
      if (logs != nullptr) logs->push_back(largest + std::log(sum));
      for (int64_t j = 0; j < length; ++j) {
        if (!left.factors.empty()) scores[j] *= left.factors[(unit * s.sequence + i) * s.sequence + j];
        for (int64_t d = 0; d < s.head_dimension; ++d) {
          out[(start + i) * wide + h * s.head_dimension + d] +=
              scores[j] / sum * v[(start + j) * narrow + g * s.head_dimension + d];
        }
      }
    }
  }
  return out;
}

AttentionShape with_mask(AttentionShape s, bool causal, int64_t window) {
  s.causal = causal;
  s.window = window;
  return s;
}

std::vector<double> rotary_frequencies(int64_t dimension) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dimension / 2; ++i)
    frequencies.push_back(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(dimension)));
  return frequencies;
}

namespace {

int64_t wide(const AttentionShape& s) {
  return s.heads * s.head_dimension;
}
int64_t narrow(const AttentionShape& s) {
  return s.key_value_heads * s.head_dimension;
}

class AttentionCase : public OperationCase {
 public:
  AttentionCase(std::string name, const AttentionShape& shape, std::vector<Operand> operands, Bound bound)
      : OperationCase(std::move(name), std::move(operands), bound), shape_(shape) {}
  // A score's rounding error, of its D terms, becomes a relative error of its probability.
  double tolerance() const override { return sum_bound(shape_.sequence + shape_.head_dimension); }
  // Tensor cores take probabilities and gradients of scores rounded to bf16, at most 2^-8 of each of numbers that may
  // be a few times the largest of the result, which is rounded once more. A single key takes all of the probability: dq
  // and dk are then rounding errors.
  double bfloat16_tolerance() const override { return single_key() ? 1e6 : 0x1p-6; }

 protected:
  bool single_key() const { return shape_.sequence == 1 || shape_.window == 1; }
  AttentionShape shape_;
};

class Forward final : public AttentionCase {
 public:
  enum { kQ, kK, kV, kOut, kLogs };
  explicit Forward(const AttentionShape& s)
      : AttentionCase("attention", s,
                      {typed("q", s.tokens(), wide(s)), typed("k", s.tokens(), narrow(s)),
                       typed("v", s.tokens(), narrow(s)), typed("out", s.tokens(), wide(s), Role::kOutput),
                       fp32("log_sum", s.batch * s.heads, s.sequence, Role::kOutput)},
                      Bound::kProduct) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    attention(device, shape_, t[kQ], t[kK], t[kV], t[kOut], t[kLogs]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kLogs].clear();
    n[kOut] = attention_exactly(shape_, n[kQ], n[kK], n[kV], &n[kLogs]);
    return {};
  }
  double bfloat16_tolerance() const override { return 0x1p-6; }
};

class Backward final : public AttentionCase {
 public:
  enum { kQ, kK, kV, kOut, kLogs, kDout, kDq, kDk, kDv };
  explicit Backward(const AttentionShape& s)
      : AttentionCase(
            "attention_backward", s,
            {typed("q", s.tokens(), wide(s)), typed("k", s.tokens(), narrow(s)), typed("v", s.tokens(), narrow(s)),
             typed("out", s.tokens(), wide(s), Role::kPrepared),
             fp32("log_sum", s.batch * s.heads, s.sequence, Role::kPrepared), typed("dout", s.tokens(), wide(s)),
             typed("dq", s.tokens(), wide(s), Role::kOutput), typed("dk", s.tokens(), narrow(s), Role::kOutput),
             typed("dv", s.tokens(), narrow(s), Role::kOutput)},
            Bound::kProduct) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    attention(device, shape_, t[kQ], t[kK], t[kV], t[kOut], t[kLogs]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    attention_backward(device, shape_, t[kQ], t[kK], t[kV], t[kOut], t[kLogs], t[kDout], t[kDq], t[kDk], t[kDv]);
    return {};
  }
  std::vector<Slope> slopes() const override {
    if (single_key()) return {{kV, kDv}};
    return {{kQ, kDq}, {kK, kDk}, {kV, kDv}};
  }
  double loss(const std::vector<Values>& n) const override {
    return dot(n[kDout], attention_exactly(shape_, n[kQ], n[kK], n[kV]));
  }
  double slope_tolerance() const override { return 8 * sum_bound(shape_.sequence + shape_.head_dimension); }
};

class OfLast final : public AttentionCase {
 public:
  enum { kQ, kK, kV, kOut };
  explicit OfLast(const AttentionShape& s)
      : AttentionCase("attention_of_last", s,
                      {typed("q", s.batch, wide(s)), typed("k", s.tokens(), narrow(s)),
                       typed("v", s.tokens(), narrow(s)), typed("out", s.batch, wide(s), Role::kOutput)},
                      Bound::kMemory) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    attention_of_last(device, shape_, t[kQ], t[kK], t[kV], t[kOut]);
    return {};
  }
  bool has_reference() const override { return true; }
  // The last row of each sequence, of queries that are zeros before it.
  Values reference(std::vector<Values>& n) const override {
    const int64_t width = wide(shape_);
    Values q(static_cast<size_t>(shape_.tokens() * width));
    const auto last = [&](int64_t b) { return ((b + 1) * shape_.sequence - 1) * width; };
    for (int64_t b = 0; b < shape_.batch; ++b) std::copy_n(n[kQ].begin() + b * width, width, q.begin() + last(b));
    const Values whole = attention_exactly(shape_, q, n[kK], n[kV]);
    n[kOut].clear();
    for (int64_t b = 0; b < shape_.batch; ++b)
      n[kOut].insert(n[kOut].end(), whole.begin() + last(b), whole.begin() + last(b) + width);
    return {};
  }
  double bfloat16_tolerance() const override { return 0; }
};

class RotaryCase final : public OperationCase {
 public:
  enum { kX, kTable };
  RotaryCase(int64_t sequences, int64_t sequence, int64_t heads, int64_t dimension)
      : OperationCase("rotary", {typed("x", sequences * sequence, heads * dimension, Role::kUpdated),
                                 fp32("table", sequence, dimension, Role::kPrepared)}),
        sequence_(sequence),
        dimension_(dimension) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    rotary_table(device, t[kTable], rotary_frequencies(dimension_));
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    rotary(device, t[kX], t[kTable], sequence_, dimension_, false);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    const std::vector<double> frequencies = rotary_frequencies(dimension_);
    const int64_t width = operands()[kX].columns;
    for (int64_t token = 0; token < operands()[kX].rows; ++token) {
      for (int64_t column = 0; column < width; column += dimension_) {
        for (int64_t i = 0; i < dimension_ / 2; ++i) {
          double& a = n[kX][token * width + column + i];
          double& b = n[kX][token * width + column + i + dimension_ / 2];
          const double angle = static_cast<double>(token % sequence_) * frequencies[i];
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
      }
    }
    return {};
  }
  double tolerance() const override { return 4 * kRounding; }

 private:
  int64_t sequence_;
  int64_t dimension_;
};

}  // namespace

std::unique_ptr<const OperationCase> attention_case(const AttentionShape& shape) {
  return std::make_unique<Forward>(shape);
}
std::unique_ptr<const OperationCase> attention_backward_case(const AttentionShape& shape) {
  return std::make_unique<Backward>(shape);
}

void add_ragged_attention(CaseList& list) {
  std::vector<AttentionShape> shapes(std::begin(kAttentionShapes), std::end(kAttentionShapes));
  shapes.insert(shapes.end(), std::begin(kMaskedShapes), std::end(kMaskedShapes));
  for (const AttentionShape& s : shapes) {
    list.push_back(std::make_unique<Forward>(s));
    list.push_back(std::make_unique<Backward>(s));
    if (s.causal) list.push_back(std::make_unique<OfLast>(s));
  }
  for (const int64_t dimension : {2, 6, 16, 64, 128}) list.push_back(std::make_unique<RotaryCase>(2, 50, 3, dimension));
}

void add_attention_of_model(const ModelSizes& sizes, CaseList& list) {
  const int64_t heads = sizes.hidden / sizes.head;
  const AttentionShape shape{sizes.sequences, sizes.sequence, heads, heads, sizes.head};
  list.push_back(std::make_unique<Forward>(shape));
  list.push_back(std::make_unique<Backward>(shape));
  list.push_back(std::make_unique<OfLast>(shape));
  list.push_back(std::make_unique<RotaryCase>(sizes.sequences, sizes.sequence, heads, sizes.head));
}

}  // namespace galleon
