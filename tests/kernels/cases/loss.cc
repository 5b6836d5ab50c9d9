// Losses and embeddings.
#include "kernels/ops/loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/ops/embedding.h"
#include "tests/kernels/cases/loss.h"

namespace galleon {

Values cross_entropy_exactly(const Values& logits, const Values& targets, int64_t n) {
  Values losses;
  for (size_t r = 0; r < targets.size(); ++r) {
    if (targets[r] < 0) {
      losses.push_back(0);
      continue;
    }
    const double* x = logits.data() + static_cast<int64_t>(r) * n;
    const double largest = *std::max_element(x, x + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - largest);
    losses.push_back(std::log(sum) + largest - x[static_cast<int64_t>(targets[r])]);
  }
  return losses;
}

namespace {

constexpr float kScale = 0.25F;

Operand logits_of(int64_t rows, int64_t n, Role role) {
  Operand logits = fp32_rows("logits", rows, n, role);
  logits.deviation = 3;
  return logits;
}

class CrossEntropyForward final : public OperationCase {
 public:
  enum { kLogits, kTargets, kLosses };
  CrossEntropyForward(int64_t rows, int64_t n)
      : OperationCase("cross_entropy_forward", {logits_of(rows, n, Role::kInput), ids("targets", rows, n, true),
                                                fp32("losses", rows, 1, Role::kOutput)}),
        n_(n) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    cross_entropy_forward(device, t[kLogits], t[kTargets], t[kLosses]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kLosses] = cross_entropy_exactly(n[kLogits], n[kTargets], n_);
    return {};
  }
  double tolerance() const override { return sum_bound(n_); }

 private:
  int64_t n_;
};

// With the gradient in place of the logits, as models have it.
class CrossEntropyCase final : public OperationCase {
 public:
  enum { kLogits, kTargets, kLosses };
  CrossEntropyCase(int64_t rows, int64_t n, DataType type, float z_loss = 0)
      : OperationCase(z_loss > 0                    ? "cross_entropy_z_loss"
                      : type == DataType::kBFloat16 ? "cross_entropy"
                                                    : "cross_entropy_fp32",
                      {logits_of(rows, n, Role::kUpdated), ids("targets", rows, n, true),
                       fp32("losses", rows, 1, Role::kOutput)}),
        n_(n),
        type_(type),
        z_loss_(z_loss) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    cross_entropy(device, t[kLogits], t[kTargets], kScale, t[kLosses], gradient_over(t[kLogits], type_), z_loss_);
    return {};
  }
  std::vector<Slope> slopes() const override {
    if (type_ == DataType::kBFloat16) return {};
    return {{kLogits, kLogits}};
  }
  double loss(const std::vector<Values>& n) const override {
    double sum = 0;
    for (const double of_row : cross_entropy_exactly(n[kLogits], n[kTargets], n_)) sum += of_row;
    for (size_t r = 0; r < n[kTargets].size() && z_loss_ > 0; ++r) {
      if (n[kTargets][r] < 0) continue;
      double exponentials = 0;
      for (int64_t i = 0; i < n_; ++i) exponentials += std::exp(n[kLogits][static_cast<int64_t>(r) * n_ + i]);
      sum += static_cast<double>(z_loss_) * std::pow(std::log(exponentials), 2);
    }
    return static_cast<double>(kScale) * sum;
  }

 private:
  int64_t n_;
  DataType type_;
  float z_loss_;
};

class SquaredError final : public OperationCase {
 public:
  enum { kOutputs, kLabels, kLosses, kGradient };
  explicit SquaredError(int64_t rows)
      : OperationCase("squared_error",
                      {fp32("outputs", rows, 1), fp32("labels", rows, 1), fp32("losses", rows, 1, Role::kOutput),
                       fp32("gradient", rows, 1, Role::kOutput)}) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    squared_error(device, t[kOutputs], t[kLabels], kScale, t[kLosses], t[kGradient]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kLosses].clear();
    n[kGradient].clear();
    for (size_t i = 0; i < n[kOutputs].size(); ++i) {
      const double error = n[kOutputs][i] - n[kLabels][i];
      n[kLosses].push_back(error * error);
      n[kGradient].push_back(2 * error * static_cast<double>(kScale));
    }
    return {};
  }
  double tolerance() const override { return 4 * kRounding; }
};

class Embedding final : public OperationCase {
 public:
  enum { kIds, kTable, kX };
  Embedding(int64_t tokens, int64_t vocabulary, int64_t hidden)
      : OperationCase("embedding", {ids("ids", tokens, vocabulary), typed("table", vocabulary, hidden),
                                    typed("x", tokens, hidden, Role::kOutput)}),
        hidden_(hidden) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    embedding(device, t[kIds], t[kTable], t[kX]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kX].clear();
    for (const double id : n[kIds]) {
      const auto row = n[kTable].begin() + static_cast<int64_t>(id) * hidden_;
      n[kX].insert(n[kX].end(), row, row + hidden_);
    }
    return {};
  }

 private:
  int64_t hidden_;
};

// Exact: the sums have the order of the tokens on every device.
class EmbeddingBackward final : public OperationCase {
 public:
  enum { kIds, kDx, kDtable };
  EmbeddingBackward(int64_t tokens, int64_t vocabulary, int64_t hidden)
      : OperationCase("embedding_backward", {ids("ids", tokens, vocabulary), typed("dx", tokens, hidden),
                                             fp32_rows("dtable", vocabulary, hidden, Role::kUpdated)}),
        hidden_(hidden) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    embedding_backward(device, t[kIds], t[kDx], t[kDtable]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t t = 0; t < n[kIds].size(); ++t) {
      for (int64_t i = 0; i < hidden_; ++i) {
        double& at = n[kDtable][static_cast<int64_t>(n[kIds][t]) * hidden_ + i];
        at = static_cast<float>(at) + static_cast<float>(n[kDx][static_cast<int64_t>(t) * hidden_ + i]);
      }
    }
    return {};
  }

 private:
  int64_t hidden_;
};

}  // namespace

void add_ragged_losses(CaseList& list) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 2}, {5, 7}, {63, 65}, {200, 1000}, {3, 32000}}) {
    list.push_back(std::make_unique<CrossEntropyForward>(rows, n));
    list.push_back(std::make_unique<CrossEntropyCase>(rows, n, DataType::kFloat32));
    list.push_back(std::make_unique<CrossEntropyCase>(rows, n, DataType::kFloat32, 0.01F));
    list.push_back(std::make_unique<SquaredError>(rows));
  }
  for (const int64_t hidden : {1, 5, 16, 63, 200}) {
    list.push_back(std::make_unique<Embedding>(170, 11, hidden));
    list.push_back(std::make_unique<EmbeddingBackward>(170, 11, hidden));
  }
}

void add_losses_of_model(const ModelSizes& sizes, CaseList& list) {
  list.push_back(std::make_unique<CrossEntropyForward>(sizes.logit_rows, sizes.vocabulary));
  list.push_back(std::make_unique<CrossEntropyCase>(sizes.logit_rows, sizes.vocabulary, DataType::kBFloat16));
  list.push_back(std::make_unique<CrossEntropyCase>(sizes.logit_rows, sizes.vocabulary, DataType::kFloat32));
  list.push_back(std::make_unique<Embedding>(sizes.tokens(), sizes.vocabulary, sizes.hidden));
  list.push_back(std::make_unique<EmbeddingBackward>(sizes.tokens(), sizes.vocabulary, sizes.hidden));
}

}  // namespace galleon
