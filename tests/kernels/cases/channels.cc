// Norms of rows and columns, and what scales them.
#include "kernels/ops/channels.h"

#include <algorithm>
#include <cmath>

#include "tests/kernels/cases/case.h"

namespace galleon {

namespace {

class Squares final : public OperationCase {
 public:
  enum { kX, kTo };
  Squares(int64_t rows, int64_t n, bool of_rows)
      : OperationCase(of_rows ? "row_squares" : "column_squares",
                      {fp32("x", rows, n), fp32("to", of_rows ? rows : 1, of_rows ? 1 : n, Role::kOutput)}),
        n_(n),
        terms_(of_rows ? n : rows),
        of_rows_(of_rows) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    (of_rows_ ? row_squares : column_squares)(device, t[kX], t[kTo]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kTo].assign(static_cast<size_t>(operands()[kTo].rows * operands()[kTo].columns), 0.0);
    for (size_t i = 0; i < n[kX].size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      n[kTo][of_rows_ ? at / n_ : at % n_] += n[kX][i] * n[kX][i];
    }
    return {};
  }
  double tolerance() const override { return sum_bound(terms_); }

 private:
  int64_t n_, terms_;
  bool of_rows_;
};

class RootRatios final : public OperationCase {
 public:
  enum { kA, kB, kTo };
  RootRatios(int64_t size, bool with_a)
      : OperationCase(with_a ? "root_ratios" : "root_ratios_alone",
                      {positive(fp32("a", size, 1)), positive(fp32("b", size, 1)), fp32("to", size, 1, Role::kOutput)}),
        with_a_(with_a) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    root_ratios(device, kFactor, with_a_ ? t[kA] : Tensor{}, t[kB], kFloor, t[kTo]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    n[kTo].resize(n[kB].size());
    for (size_t i = 0; i < n[kTo].size(); ++i)
      n[kTo][i] = kFactor * (with_a_ ? std::sqrt(n[kA][i]) : 1.0) / (std::sqrt(n[kB][i]) + kFloor);
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }

 private:
  static constexpr float kFactor = 1.5F;
  static constexpr float kFloor = 0.125F;
  bool with_a_;
};

class ScaleChannels final : public OperationCase {
 public:
  enum { kX, kCommon, kRows, kColumns };
  ScaleChannels(int64_t rows, int64_t n, bool by_rows, bool by_columns)
      : OperationCase(
            by_rows && by_columns ? "scale_channels"
            : by_rows             ? "scale_rows"
                                  : "scale_columns",
            {fp32("x", rows, n, Role::kUpdated), fp32("common", 1, 1), fp32("rows", rows, 1), fp32("columns", 1, n)}),
        n_(n),
        by_rows_(by_rows),
        by_columns_(by_columns) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    scale_channels(device, kFactor, by_rows_ ? t[kCommon] : Tensor{}, by_rows_ ? t[kRows] : Tensor{},
                   by_columns_ ? t[kColumns] : Tensor{}, t[kX]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    for (size_t i = 0; i < n[kX].size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      n[kX][i] *= kFactor;
      if (by_rows_) n[kX][i] *= n[kCommon][0] * n[kRows][at / n_];
      if (by_columns_) n[kX][i] *= n[kColumns][at % n_];
    }
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }

 private:
  static constexpr float kFactor = 0.75F;
  int64_t n_;
  bool by_rows_, by_columns_;
};

class GrowthLimit final : public OperationCase {
 public:
  enum { kOwn, kSquares, kBefore, kTo };
  // `limit`: so small that it holds, or so large that it does not.
  GrowthLimit(const char* name, float limit, bool with_own)
      : OperationCase(name,
                      {positive(fp32("own", 1, 1)), positive(fp32("squares", 1, 1)),
                       positive(fp32("before", 1, 1, Role::kUpdated)), fp32("to", 1, 1, Role::kOutput)},
                      Bound::kSeconds),
        limit_(limit),
        with_own_(with_own) {}
  Values run(Device& device, const std::vector<Tensor>& t) const override {
    growth_limit(device, kFactor, with_own_ ? t[kOwn] : Tensor{}, t[kSquares], limit_, t[kBefore], t[kTo]);
    return {};
  }
  bool has_reference() const override { return true; }
  Values reference(std::vector<Values>& n) const override {
    const double own = with_own_ ? n[kOwn][0] : 1.0;
    const double norm = kFactor * own * std::sqrt(n[kSquares][0]);
    const double taken = std::min(norm, limit_ * n[kBefore][0]);
    n[kTo].assign(1, own * taken / norm);
    n[kBefore][0] = taken;
    return {};
  }
  double tolerance() const override { return 8 * kRounding; }

 private:
  static constexpr float kFactor = 2.0F;
  float limit_;
  bool with_own_;
};

void add_channels(int64_t rows, int64_t n, CaseList& list) {
  for (const bool of_rows : {true, false}) list.push_back(std::make_unique<Squares>(rows, n, of_rows));
  for (const bool with_a : {true, false}) list.push_back(std::make_unique<RootRatios>(rows, with_a));
  list.push_back(std::make_unique<ScaleChannels>(rows, n, true, true));
  list.push_back(std::make_unique<ScaleChannels>(rows, n, true, false));
  list.push_back(std::make_unique<ScaleChannels>(rows, n, false, true));
}

void add_limits(CaseList& list) {
  list.push_back(std::make_unique<GrowthLimit>("growth_limit", 1e-3F, true));
  list.push_back(std::make_unique<GrowthLimit>("growth_limit_far", 1e9F, false));
}

}  // namespace

void add_ragged_channels(CaseList& list) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 1}, {5, 9}, {65, 33}, {300, 129}, {3, 2000}})
    add_channels(rows, n, list);
  add_limits(list);
}

void add_channels_of_model(const ModelSizes& sizes, CaseList& list) {
  add_channels(sizes.mlp, sizes.hidden, list);
  add_limits(list);
}

}  // namespace galleon
