// Matrix products, updates out of a subspace, and bases.
#include <algorithm>

#include "kernels/ops/linalg.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/random.h"
#include "kernels/ops/weight_update.h"
#include "tests/kernels/cases/case.h"

namespace galleon {
namespace {

// c ← op(a)·op(b).
class ProductCase final : public OperationCase {
 public:
  enum { kA, kB, kC };
  ProductCase(std::string name, Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, bool to_fp32)
      : OperationCase(std::move(name),
                      {a == Transpose::kYes ? typed("a", k, m) : typed("a", m, k),
                       b == Transpose::kYes ? typed("b", n, k) : typed("b", k, n),
                       to_fp32 ? fp32_rows("c", m, n, Role::kOutput) : typed("c", m, n, Role::kOutput)},
                      Bound::kProduct),
        a_(a),
        b_(b),
        m_(m),
        n_(n),
        k_(k) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    matmul(device, t[kA], a_, t[kB], b_, t[kC]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kC].assign(static_cast<size_t>(m_ * n_), 0);
    for (int64_t i = 0; i < m_; ++i) {
      for (int64_t l = 0; l < k_; ++l) {
        const double x = a_ == Transpose::kYes ? n[kA][l * m_ + i] : n[kA][i * k_ + l];
        for (int64_t j = 0; j < n_; ++j)
          n[kC][i * n_ + j] += x * (b_ == Transpose::kYes ? n[kB][j * k_ + l] : n[kB][l * n_ + j]);
      }
    }
    return {};
  }
  double tolerance() const override { return sum_bound(k_); }

 private:
  Transpose a_;
  Transpose b_;
  int64_t m_;
  int64_t n_;
  int64_t k_;
};

// weight ← (weight − step·update·basisᵀ)·keep.
class ApplyProjected final : public OperationCase {
 public:
  enum { kWeight, kUpdate, kBasis };
  ApplyProjected(int64_t rows, int64_t n, int64_t rank)
      : OperationCase("apply_projected",
                      {typed("weight", rows, n, Role::kUpdated), typed("update", rows, rank), small_basis(n, rank)},
                      Bound::kProduct),
        rows_(rows),
        n_(n),
        rank_(rank) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    apply_projected(device, t[kWeight], {}, t[kUpdate], t[kBasis], {.step = kStep, .keep = kKeep, .noise = 7});
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t j = 0; j < n_; ++j) {
        double back = 0;
        for (int64_t l = 0; l < rank_; ++l) back += n[kUpdate][i * rank_ + l] * n[kBasis][j * rank_ + l];
        double& weight = n[kWeight][i * n_ + j];
        weight = (weight - static_cast<double>(kStep) * back) * static_cast<double>(kKeep);
      }
    }
    return {};
  }
  double tolerance() const override { return sum_bound(rank_); }
  // Rounded up or down, as the noise has it.
  double bfloat16_tolerance() const override { return 0x1p-6; }

 private:
  static constexpr float kStep = 0.03F;
  static constexpr float kKeep = 0.875F;
  static Operand small_basis(int64_t n, int64_t rank) {
    Operand operand = typed("basis", n, rank);
    operand.deviation = 0.1;
    return operand;
  }
  int64_t rows_;
  int64_t n_;
  int64_t rank_;
};

// The matrix is drawn in each run, because it is destroyed.
class Orthonormalize final : public OperationCase {
 public:
  Orthonormalize(int64_t rows, int64_t rank)
      : OperationCase("orthonormalize_mlp", {fp32("y", rows, rank, Role::kOutput)}, Bound::kSeconds) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    fill_normal(device, t[0], 3, 1, 0, 0.0F, 1.0F);
    return {orthonormalize(device, t[0], 1) ? 1.0 : 0.0};
  }
};

class SingularVectors final : public OperationCase {
 public:
  enum { kG, kBasis };
  SingularVectors(int64_t rows, int64_t n, int64_t rank)
      : OperationCase("singular_vectors_hidden",
                      {fp32("g", rows, n, Role::kOutput), fp32("basis", n, rank, Role::kOutput)}, Bound::kSeconds) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    fill_normal(device, t[kG], 4, 1, 0, 0.0F, 1.0F);
    return {right_singular_vectors(device, t[kG], t[kBasis]) ? 1.0 : 0.0};
  }
};

}  // namespace

void add_ragged_products(CaseList& list) {
  const int64_t shapes[][3] = {{1, 1, 1},    {1, 7, 3},     {5, 1, 9},     {3, 5, 0},      {17, 33, 65},
                               {64, 64, 64}, {130, 20, 77}, {200, 8, 513}, {12, 300, 129}, {344, 32, 600}};
  for (const auto& [m, n, k] : shapes) {
    for (const Transpose a : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose b : {Transpose::kNo, Transpose::kYes}) {
        for (const bool to_fp32 : {false, true})
          list.push_back(std::make_unique<ProductCase>("product", a, b, m, n, k, to_fp32));
      }
    }
  }
  const int64_t updates[][3] = {{1, 1, 1}, {5, 9, 2}, {65, 33, 8}, {300, 129, 32}, {129, 700, 64}};
  for (const auto& [rows, n, rank] : updates) list.push_back(std::make_unique<ApplyProjected>(rows, n, rank));
}

// Of one block: forward, its two backwards, and the thin ones of GaLore.
void add_products_of_model(const ModelSizes& s, CaseList& list) {
  constexpr Transpose kNo = Transpose::kNo;
  constexpr Transpose kYes = Transpose::kYes;
  const int64_t tokens = s.tokens();
  list.push_back(std::make_unique<ProductCase>("forward", kNo, kYes, tokens, s.mlp, s.hidden, false));
  list.push_back(std::make_unique<ProductCase>("to_input", kNo, kNo, tokens, s.hidden, s.mlp, false));
  list.push_back(std::make_unique<ProductCase>("to_weight", kYes, kNo, s.mlp, s.hidden, tokens, true));
  list.push_back(std::make_unique<ProductCase>("project", kNo, kNo, tokens, s.rank, s.hidden, false));
  list.push_back(std::make_unique<ProductCase>("to_compact", kYes, kNo, s.mlp, s.rank, tokens, true));
  list.push_back(std::make_unique<ApplyProjected>(s.mlp, s.hidden, s.rank));
  list.push_back(std::make_unique<Orthonormalize>(s.mlp, s.rank));
  list.push_back(std::make_unique<SingularVectors>(s.hidden, s.hidden, s.rank));
}

}  // namespace galleon
