// RMS norms and layer norms.
#include "tests/kernels/cases/norm.h"

#include <cmath>

#include "kernels/ops/layer_norm.h"
#include "kernels/ops/norm.h"

namespace galleon {

Values rms_norm_exactly(const Values& x, const Values& weight, int64_t rows, int64_t n, Values* inverse) {
  Values y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += x[r * n + i] * x[r * n + i];
    const double s = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(kNormEpsilon));
    if (inverse != nullptr) inverse->push_back(s);
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * s * weight[i];
  }
  return y;
}

Values layer_norm_exactly(const Values& x, const Values& weight, const Values& bias, int64_t rows, int64_t n) {
  Values y(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0;
    double variance = 0;
    for (int64_t i = 0; i < n; ++i) mean += x[r * n + i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) variance += std::pow(x[r * n + i] - mean, 2) / static_cast<double>(n);
    const double inverse = 1 / std::sqrt(variance + static_cast<double>(kNormEpsilon));
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = (x[r * n + i] - mean) * inverse * weight[i] + bias[i];
  }
  return y;
}

namespace {

class NormCase : public OperationCase {
 public:
  NormCase(std::string name, int64_t rows, int64_t n, std::vector<Operand> operands)
      : OperationCase(std::move(name), std::move(operands)), rows_(rows), n_(n) {}

 protected:
  int64_t rows_;
  int64_t n_;
};

class RmsNormCase final : public NormCase {
 public:
  enum { kX, kWeight, kY, kInverse };
  RmsNormCase(int64_t rows, int64_t n)
      : NormCase("rms_norm", rows, n,
                 {typed("x", rows, n), typed("weight", n, 1), typed("y", rows, n, Role::kOutput),
                  fp32("inverse_rms", rows, 1, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    rms_norm(device, t[kX], t[kWeight], kNormEpsilon, t[kY], t[kInverse]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kInverse].clear();
    n[kY] = rms_norm_exactly(n[kX], n[kWeight], rows_, n_, &n[kInverse]);
    return {};
  }
  double tolerance() const override { return sum_bound(n_); }
};

class AddRmsNorm final : public NormCase {
 public:
  enum { kX, kDelta, kWeight, kY, kInverse };
  AddRmsNorm(int64_t rows, int64_t n)
      : NormCase("add_rms_norm", rows, n,
                 {typed("x", rows, n, Role::kUpdated), typed("delta", rows, n), typed("weight", n, 1),
                  typed("y", rows, n, Role::kOutput), fp32("inverse_rms", rows, 1, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    add_rms_norm(device, t[kX], t[kDelta], t[kWeight], kNormEpsilon, t[kY], t[kInverse]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kX].size(); ++i) n[kX][i] += n[kDelta][i];
    n[kInverse].clear();
    n[kY] = rms_norm_exactly(n[kX], n[kWeight], rows_, n_, &n[kInverse]);
    return {};
  }
  double tolerance() const override { return sum_bound(n_); }
  // The sum is rounded before the norm reads it.
  double bfloat16_tolerance() const override { return 0x1p-6; }
};

class RmsNormRecomputeCase final : public NormCase {
 public:
  enum { kX, kWeight, kInverse, kY };
  RmsNormRecomputeCase(int64_t rows, int64_t n)
      : NormCase("rms_norm_recompute", rows, n,
                 {typed("x", rows, n), typed("weight", n, 1), fp32("inverse_rms", rows, 1, Role::kPrepared),
                  typed("y", rows, n, Role::kOutput)}) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    rms_norm(device, t[kX], t[kWeight], kNormEpsilon, t[kY], t[kInverse]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    rms_norm_recompute(device, t[kX], t[kWeight], t[kInverse], t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kY] = rms_norm_exactly(n[kX], n[kWeight], rows_, n_);
    return {};
  }
  double tolerance() const override { return sum_bound(n_); }
};

class RmsNormBackwardCase final : public NormCase {
 public:
  enum { kX, kWeight, kInverse, kDy, kDx, kDweight };
  RmsNormBackwardCase(int64_t rows, int64_t n)
      : NormCase("rms_norm_backward", rows, n,
                 {typed("x", rows, n), typed("weight", n, 1), fp32("inverse_rms", rows, 1, Role::kPrepared),
                  typed("dy", rows, n), typed("dx", rows, n, Role::kAdded), fp32("dweight", n, 1, Role::kAdded)}) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    const Workspace memory(device, t[kX].bytes());
    rms_norm(device, t[kX], t[kWeight], kNormEpsilon, memory.tensor(rows_, n_, t[kX].type), t[kInverse]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    rms_norm_backward(device, t[kX], t[kWeight], t[kInverse], t[kDy], t[kDx], t[kDweight]);
    return {};
  }
  // With one column y hardly depends on x: all that is left is rounding.
  std::vector<Slope> slopes() const override {
    if (n_ == 1) return {{kWeight, kDweight}};
    return {{kX, kDx}, {kWeight, kDweight}};
  }
  double loss(const std::vector<Values>& n) const override {
    return dot(n[kDy], rms_norm_exactly(n[kX], n[kWeight], rows_, n_));
  }
  double slope_tolerance() const override { return n_ == 1 ? 1e-2 : 4 * sum_bound(n_ + rows_); }
};

class LayerNormCase final : public NormCase {
 public:
  enum { kX, kWeight, kBias, kY, kStatistics };
  LayerNormCase(int64_t rows, int64_t n)
      : NormCase("layer_norm", rows, n,
                 {typed("x", rows, n), typed("weight", n, 1), typed("bias", n, 1), typed("y", rows, n, Role::kOutput),
                  fp32("statistics", rows, 2, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    layer_norm(device, t[kX], t[kWeight], t[kBias], kNormEpsilon, t[kY], t[kStatistics]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kY] = layer_norm_exactly(n[kX], n[kWeight], n[kBias], rows_, n_);
    return {};
  }
  double tolerance() const override { return 2 * sum_bound(n_); }
};

class AddLayerNorm final : public NormCase {
 public:
  enum { kX, kDelta, kWeight, kBias, kY, kStatistics };
  AddLayerNorm(int64_t rows, int64_t n)
      : NormCase(
            "add_layer_norm", rows, n,
            {typed("x", rows, n, Role::kUpdated), typed("delta", rows, n), typed("weight", n, 1), typed("bias", n, 1),
             typed("y", rows, n, Role::kOutput), fp32("statistics", rows, 2, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    add_layer_norm(device, t[kX], t[kDelta], t[kWeight], t[kBias], kNormEpsilon, t[kY], t[kStatistics]);
    return {};
  }
  bool has_reference() const override { return true; }
  // The sum counts as it is stored: of two numbers a rounding of the sum may be a large part of the difference.
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kX].size(); ++i)
      n[kX][i] = static_cast<float>(n[kX][i]) + static_cast<float>(n[kDelta][i]);
    n[kY] = layer_norm_exactly(n[kX], n[kWeight], n[kBias], rows_, n_);
    return {};
  }
  double tolerance() const override { return 2 * sum_bound(n_); }
  // The sum is rounded before the norm reads it; two numbers may then be equal.
  double bfloat16_tolerance() const override { return n_ > 2 ? 0x1p-5 : 2; }
};

class LayerNormRecomputeCase final : public NormCase {
 public:
  enum { kX, kWeight, kBias, kStatistics, kY };
  LayerNormRecomputeCase(int64_t rows, int64_t n)
      : NormCase("layer_norm_recompute", rows, n,
                 {typed("x", rows, n), typed("weight", n, 1), typed("bias", n, 1),
                  fp32("statistics", rows, 2, Role::kPrepared), typed("y", rows, n, Role::kOutput)}) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    layer_norm(device, t[kX], t[kWeight], t[kBias], kNormEpsilon, t[kY], t[kStatistics]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    layer_norm_recompute(device, t[kX], t[kWeight], t[kBias], t[kStatistics], t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kY] = layer_norm_exactly(n[kX], n[kWeight], n[kBias], rows_, n_);
    return {};
  }
  double tolerance() const override { return 2 * sum_bound(n_); }
};

class LayerNormBackwardCase final : public NormCase {
 public:
  enum { kX, kWeight, kBias, kStatistics, kDy, kDx, kDweight, kDbias };
  LayerNormBackwardCase(int64_t rows, int64_t n)
      : NormCase(
            "layer_norm_backward", rows, n,
            {typed("x", rows, n), typed("weight", n, 1), typed("bias", n, 1),
             fp32("statistics", rows, 2, Role::kPrepared), typed("dy", rows, n), typed("dx", rows, n, Role::kOutput),
             fp32("dweight", n, 1, Role::kAdded), fp32("dbias", n, 1, Role::kAdded)}) {}
  void prepare(Device& device, const std::vector<Tensor>& t) const override {
    const Workspace memory(device, t[kX].bytes());
    layer_norm(device, t[kX], t[kWeight], t[kBias], kNormEpsilon, memory.tensor(rows_, n_, t[kX].type), t[kStatistics]);
  }
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    layer_norm_backward(device, t[kX], t[kWeight], t[kStatistics], t[kDy], t[kDx], t[kDweight], t[kDbias]);
    return {};
  }
  // Two numbers are normalised to ±1: their gradient is zero but for rounding.
  std::vector<Slope> slopes() const override {
    if (n_ == 2) return {{kBias, kDbias}};
    return {{kX, kDx}, {kWeight, kDweight}, {kBias, kDbias}};
  }
  double loss(const std::vector<Values>& n) const override {
    return dot(n[kDy], layer_norm_exactly(n[kX], n[kWeight], n[kBias], rows_, n_));
  }
  double slope_tolerance() const override { return 4 * sum_bound(rows_ + n_); }
  double bfloat16_tolerance() const override { return n_ == 2 ? 1e6 : 0; }
};

void add_all(int64_t rows, int64_t n, CaseList& list) {
  list.push_back(std::make_unique<RmsNormCase>(rows, n));
  list.push_back(std::make_unique<AddRmsNorm>(rows, n));
  list.push_back(std::make_unique<RmsNormRecomputeCase>(rows, n));
  list.push_back(std::make_unique<RmsNormBackwardCase>(rows, n));
  if (n < 2) return;
  list.push_back(std::make_unique<LayerNormCase>(rows, n));
  list.push_back(std::make_unique<AddLayerNorm>(rows, n));
  list.push_back(std::make_unique<LayerNormRecomputeCase>(rows, n));
  list.push_back(std::make_unique<LayerNormBackwardCase>(rows, n));
}

}  // namespace

void add_ragged_norms(CaseList& list) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 1},
                                {1, 2},
                                {1, 8},
                                {3, 5},
                                {7, 63},
                                {65, 64},
                                {200, 129},
                                {1100, 33},
                                {6, 1000},
                                {3, 9001}})
    add_all(rows, n, list);
}

void add_norms_of_model(const ModelSizes& sizes, CaseList& list) {
  add_all(sizes.tokens(), sizes.hidden, list);
}

}  // namespace galleon
