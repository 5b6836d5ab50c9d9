// Elementwise operations, copies, dropout and biases.
#include "kernels/ops/activation.h"

#include <cmath>

#include "kernels/math/random.h"
#include "kernels/ops/bias.h"
#include "kernels/ops/dropout.h"
#include "tests/kernels/cases/activation.h"

namespace galleon {

double gelu_exactly(double x, bool tanh_form) {
  if (tanh_form) return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
}

Values swiglu_exactly(const Values& gate, const Values& up) {
  Values out(gate.size());
  for (size_t i = 0; i < gate.size(); ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return out;
}

namespace {

class Swiglu final : public OperationCase {
 public:
  enum { kGate, kUp, kOut };
  Swiglu(int64_t rows, int64_t n)
      : OperationCase("swiglu", {typed("gate", rows, n), typed("up", rows, n), typed("out", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    swiglu(device, t[kGate], t[kUp], t[kOut]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kOut] = swiglu_exactly(n[kGate], n[kUp]);
    return {};
  }
  // A handful of roundings: the exponential (2), sum, division, two products.
  double tolerance() const override { return 16 * kRounding; }
};

class SwigluBackwardCase final : public OperationCase {
 public:
  enum { kGate, kUp, kDout, kDgate, kDup };
  SwigluBackwardCase(int64_t rows, int64_t n)
      : OperationCase("swiglu_backward",
                      {typed("gate", rows, n), typed("up", rows, n), typed("dout", rows, n),
                       typed("dgate", rows, n, Role::kOutput), typed("dup", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    swiglu_backward(device, t[kGate], t[kUp], t[kDout], t[kDgate], t[kDup]);
    return {};
  }
  std::vector<Slope> slopes() const override { return {{kGate, kDgate}, {kUp, kDup}}; }
  double loss(const std::vector<Values>& n) const override { return dot(n[kDout], swiglu_exactly(n[kGate], n[kUp])); }
};

class Gelu final : public OperationCase {
 public:
  enum { kX, kY };
  Gelu(int64_t rows, int64_t n, bool tanh_form)
      : OperationCase(tanh_form ? "gelu" : "gelu_exact", {typed("x", rows, n), typed("y", rows, n, Role::kOutput)}),
        tanh_form_(tanh_form) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    gelu(device, t[kX], tanh_form_, t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kY].clear();
    for (const double x : n[kX]) n[kY].push_back(gelu_exactly(x, tanh_form_));
    return {};
  }
  // The exponential, the polynomial of the tail (5e-7 of Φ) and a handful of roundings.
  double tolerance() const override { return 1e-6; }

 private:
  bool tanh_form_;
};

class GeluBackward final : public OperationCase {
 public:
  enum { kX, kDy, kDx };
  GeluBackward(int64_t rows, int64_t n, bool tanh_form)
      : OperationCase(tanh_form ? "gelu_backward" : "gelu_exact_backward",
                      {typed("x", rows, n), typed("dy", rows, n), typed("dx", rows, n, Role::kOutput)}),
        tanh_form_(tanh_form) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    gelu_backward(device, t[kX], tanh_form_, t[kDy], t[kDx]);
    return {};
  }
  std::vector<Slope> slopes() const override { return {{kX, kDx}}; }
  double loss(const std::vector<Values>& n) const override {
    double sum = 0;
    for (size_t i = 0; i < n[kX].size(); ++i) sum += n[kDy][i] * gelu_exactly(n[kX][i], tanh_form_);
    return sum;
  }
  // Where the slope crosses 0 its two terms cancel, to a hundredth in the case of one number.
  double slope_tolerance() const override { return 8e-6; }

 private:
  bool tanh_form_;
};

class HyperbolicTangent final : public OperationCase {
 public:
  enum { kX, kY };
  HyperbolicTangent(int64_t rows, int64_t n)
      : OperationCase("hyperbolic_tangent", {typed("x", rows, n), typed("y", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    hyperbolic_tangent(device, t[kX], t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kY].clear();
    for (const double x : n[kX]) n[kY].push_back(std::tanh(x));
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }
};

// y is what the forward gave: the gradient is a formula of it.
class HyperbolicTangentBackward final : public OperationCase {
 public:
  enum { kY, kDy, kDx };
  HyperbolicTangentBackward(int64_t rows, int64_t n)
      : OperationCase("hyperbolic_tangent_backward",
                      {typed("y", rows, n), typed("dy", rows, n), typed("dx", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    hyperbolic_tangent_backward(device, t[kY], t[kDy], t[kDx]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kDx].clear();
    for (size_t i = 0; i < n[kY].size(); ++i) n[kDx].push_back(n[kDy][i] * (1 - n[kY][i] * n[kY][i]));
    return {};
  }
  double tolerance() const override { return 4 * kRounding; }
};

class Add final : public OperationCase {
 public:
  enum { kX, kY };
  Add(int64_t rows, int64_t n) : OperationCase("add", {typed("x", rows, n), typed("y", rows, n, Role::kUpdated)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    add(device, t[kX], t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kX].size(); ++i) n[kY][i] = static_cast<float>(n[kX][i]) + static_cast<float>(n[kY][i]);
    return {};
  }
};

class Fill final : public OperationCase {
 public:
  Fill(int64_t rows, int64_t n) : OperationCase("fill", {typed("x", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    fill(device, t[0], 0.25F);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[0].assign(static_cast<size_t>(operands()[0].rows * operands()[0].columns), 0.25);
    return {};
  }
};

class Copy final : public OperationCase {
 public:
  Copy(int64_t rows, int64_t n) : OperationCase("copy", {typed("x", rows, n), typed("y", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    copy(device, t[0], t[1]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[1] = n[0];
    return {};
  }
};

// Between the numbers' type and fp32, either way.
class Convert final : public OperationCase {
 public:
  Convert(int64_t rows, int64_t n, bool narrows)
      : OperationCase(narrows ? "from_fp32" : "to_fp32",
                      narrows ? std::vector<Operand>{fp32_rows("x", rows, n), typed("y", rows, n, Role::kOutput)}
                              : std::vector<Operand>{typed("x", rows, n), fp32_rows("y", rows, n, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    convert(device, t[0], t[1]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[1] = n[0];
    return {};
  }
};

class TransposeCase final : public OperationCase {
 public:
  TransposeCase(int64_t rows, int64_t n)
      : OperationCase("transpose", {typed("x", rows, n), typed("y", n, rows, Role::kOutput)}), rows_(rows), n_(n) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    transpose(device, t[0], t[1]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[1].resize(n[0].size());
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < n_; ++c) n[1][c * rows_ + r] = n[0][r * n_ + c];
    }
    return {};
  }

 private:
  int64_t rows_;
  int64_t n_;
};

class DropoutCase final : public OperationCase {
 public:
  DropoutCase(int64_t rows, int64_t n)
      : OperationCase("dropout", {typed("x", rows, n), typed("y", rows, n, Role::kOutput)}),
        mask_{77, uint64_t{5} << 40, n % 4 == 0 ? 1000004 : 1000003, 0.3} {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    dropout(device, t[0], mask_, t[1]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[1].assign(n[0].size(), 0.0);
    for (size_t i = 0; i < n[0].size(); ++i) {
      const uint64_t number = static_cast<uint64_t>(mask_.first) + i;
      const uint32_t word = math::philox(mask_.seed, number / 4, mask_.stream).word[number % 4];
      if (word >= mask_.probability * 0x1p32)
        n[1][i] = static_cast<float>(n[0][i]) * static_cast<float>(1 / (1 - mask_.probability));
    }
    return {};
  }

 private:
  DropoutMask mask_;
};

class AddBias final : public OperationCase {
 public:
  enum { kBias, kY };
  AddBias(int64_t rows, int64_t n)
      : OperationCase("add_bias", {typed("bias", n, 1), typed("y", rows, n, Role::kUpdated)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    add_bias(device, t[kBias], t[kY]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kY].size(); ++i) n[kY][i] += n[kBias][i % n[kBias].size()];
    return {};
  }
  double tolerance() const override { return 2 * kRounding; }
};

class BiasBackward final : public OperationCase {
 public:
  enum { kDy, kDbias };
  BiasBackward(int64_t rows, int64_t n)
      : OperationCase("bias_backward", {typed("dy", rows, n), fp32("dbias", n, 1, Role::kUpdated)}), rows_(rows) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    bias_backward(device, t[kDy], t[kDbias]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kDy].size(); ++i) n[kDbias][i % n[kDbias].size()] += n[kDy][i];
    return {};
  }
  double tolerance() const override { return sum_bound(rows_); }

 private:
  int64_t rows_;
};

void add_all(int64_t rows, int64_t hidden, int64_t mlp, CaseList& list) {
  list.push_back(std::make_unique<AddBias>(rows, hidden));
  list.push_back(std::make_unique<BiasBackward>(rows, hidden));
  list.push_back(std::make_unique<DropoutCase>(rows, hidden));
  list.push_back(std::make_unique<Add>(rows, hidden));
  list.push_back(std::make_unique<Fill>(rows, hidden));
  list.push_back(std::make_unique<Copy>(rows, hidden));
  list.push_back(std::make_unique<Convert>(rows, hidden, false));
  list.push_back(std::make_unique<Convert>(rows, hidden, true));
  list.push_back(std::make_unique<Swiglu>(rows, mlp));
  list.push_back(std::make_unique<SwigluBackwardCase>(rows, mlp));
  for (const bool tanh_form : {true, false}) {
    list.push_back(std::make_unique<Gelu>(rows, mlp, tanh_form));
    list.push_back(std::make_unique<GeluBackward>(rows, mlp, tanh_form));
  }
  list.push_back(std::make_unique<HyperbolicTangent>(rows, mlp));
  list.push_back(std::make_unique<HyperbolicTangentBackward>(rows, mlp));
  list.push_back(std::make_unique<TransposeCase>(rows, mlp));
}

}  // namespace

void add_ragged_activations(CaseList& list) {
  for (const auto& [rows, n] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 17}, {5, 3}, {63, 65}, {200, 129}, {2, 20000}, {65, 700}})
    add_all(rows, n, n, list);
}

void add_activations_of_model(const ModelSizes& sizes, CaseList& list) {
  add_all(sizes.tokens(), sizes.hidden, sizes.mlp, list);
}

}  // namespace galleon
