// Muon (Jordan et al. 2024): momentum, orthogonalised. The update is M·(MᵀM)^(−1/2), or near it, of M = (1−μ)·g + μ·B
// with B ← μ·B + (1−μ)·g (Nesterov; else M = B), times 0.2·√max(rows, columns), so that its root mean square is about
// AdamW's (Liu et al. 2025, Moonlight, §2.2). Decay comes before the update.
//
// What crosses rows is MᵀM, columns×columns, of which each rank adds up its own rows' part. The rest of the iteration
// is in that matrix, alike on all ranks, and rows stay where they are: M is rows×rank in a subspace, and a full-rank
// matrix is stored with its smaller side as columns, or dealt out whole where that sends less. Where heads are
// orthogonalised one by one, a rank has whole heads, and nothing crosses rows.
#include <algorithm>
#include <cmath>

#include "kernels/ops/activation.h"
#include "kernels/ops/linear.h"
#include "kernels/ops/optimizer.h"
#include "kernels/ops/orthogonal.h"
#include "kernels/ops/quantize.h"
#include "worker/engine/optim/kept_moment.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

namespace {

constexpr double kRootMeanSquare = 0.2;  // of AdamW's updates

// Jordan et al. 2024: the steepest at 0 of those that keep singular values within about 0.3 of 1.
constexpr OddPolynomial kNewtonSchulz{3.4445F, -4.7750F, 2.0315F};
// Amsel et al. 2025, Polar Express, for singular values from 1e-3 of the norm on: each is the best after those before.
constexpr double kPolarExpress[][3] = {{8.28721201814563, -23.595886519098837, 17.300387312530933},
                                       {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
                                       {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
                                       {3.3184196573706015, -2.488488024314874, 0.51004894012372},
                                       {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
                                       {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
                                       {1.875, -1.25, 0.375}};
// Their margin for rounding: singular values are taken to be larger by it, in all but the last.
constexpr double kSafety = 1.01;

std::vector<OddPolynomial> polynomials_of(const MuonOptions& options) {
  const auto steps = static_cast<size_t>(options.steps);
  if (options.iteration == MuonIteration::kNewtonSchulz) return std::vector<OddPolynomial>(steps, kNewtonSchulz);
  std::vector<OddPolynomial> all;
  for (size_t k = 0; k < steps; ++k) {
    const auto& [a, b, c] = kPolarExpress[std::min(k, std::size(kPolarExpress) - 1)];
    const double s = k + 1 < steps ? kSafety : 1.0;
    all.push_back(
        {static_cast<float>(a / s), static_cast<float>(b / std::pow(s, 3)), static_cast<float>(c / std::pow(s, 5))});
  }
  return all;
}

class MuonMoments final : public Moments {
 public:
  MuonMoments(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena)
      : options_(options),
        matrix_(matrix),
        polynomials_(polynomials_of(options.muon)),
        buffer_(options, matrix, MomentOrder::kFirst, arena) {}

  int64_t sum_count() const override {
    return matrix_.row_block > 0 || matrix_.dealt ? 0 : matrix_.columns * matrix_.columns;
  }

  void sum(Device& device, const RuleStep& step, const Tensor& r, const Tensor& sums) override {
    if (sum_count() > 0) add_up(device, step, r, sums.reshape(matrix_.columns, matrix_.columns));
  }

  void update(Device& device, const RuleStep& step, int64_t first, const Tensor& r, const Tensor& sums) override {
    GALLEON_CHECK(first == 0 && r.rows == matrix_.own.count) << "rows from " << first << " on alone";
    if (matrix_.row_block > 0) return update_blocks(device, step, r);
    if (r.rows == 0) return;
    const int64_t n = matrix_.columns;
    const Workspace memory(device, 2 * n * n * bytes_of(DataType::kFloat32));
    const Tensor q = memory.tensor(2 * n, n).row_range(0, n);
    const Tensor gram = memory.tensor(2 * n, n).row_range(n, n);
    if (matrix_.dealt) {
      add_up(device, step, r, gram);
    } else {
      copy(device, sums.reshape(n, n), gram);
    }
    orthogonal_factor(device, polynomials_, safety(), gram, q);
    in_panels(device, r.rows, [&](int64_t begin, int64_t count, const Tensor& m) {
      const Tensor own = r.row_range(begin, count);
      look_ahead(device, step, own, begin, m);
      matmul(device, m, Transpose::kNo, q, Transpose::kNo, own);
    });
  }

  WeightStep weight_step(const RuleStep& step) const override {
    const int64_t rows = matrix_.row_block > 0 ? matrix_.row_block : matrix_.rows;
    return {step.learning_rate * kRootMeanSquare * std::sqrt(static_cast<double>(std::max(rows, matrix_.columns))),
            true};
  }
  void reset(Device& device) override { buffer_.reset(device); }
  void rotate(Device& device, const Rotation& rotation) override { buffer_.rotate(device, rotation); }
  void add_state(std::vector<StatePiece>& pieces) const override { buffer_.add_state(pieces); }

 private:
  float safety() const {
    return options_.muon.iteration == MuonIteration::kPolarExpress ? static_cast<float>(kSafety) : 1.0F;
  }
  float of_gradient(const RuleStep& step) const {
    return static_cast<float>((1.0 - options_.momentum) * step.gradient_scale);
  }
  float of_buffer() const { return static_cast<float>(options_.momentum); }

  // Rows at a time whose M exists in fp32: whole blocks of codes.
  template <typename Body>
  void in_panels(Device& device, int64_t rows, Body body) const {
    const int64_t unit = buffer_.unit();
    const int64_t most =
        std::max<int64_t>(1, device.panel_bytes() / (unit * matrix_.columns * bytes_of(DataType::kFloat32)));
    const int64_t height = std::min(std::max<int64_t>(rows, 1), most * unit);
    const Workspace memory(device, height * matrix_.columns * bytes_of(DataType::kFloat32));
    for (int64_t first = 0; first < rows; first += height) {
      const int64_t count = std::min(height, rows - first);
      body(first, count, memory.tensor(count, matrix_.columns));
    }
  }

  // B ← μ·B + (1−μ)·g.
  void advance(Device& device, const RuleStep& step, const Tensor& r) {
    if (buffer_.codes() == MomentCodes::kNone) {
      combine(device, of_gradient(step), r, of_buffer(), buffer_.numbers(), buffer_.numbers());
      return;
    }
    in_panels(device, r.rows, [&](int64_t first, int64_t count, const Tensor& b) {
      buffer_.load(device, first, b);
      combine(device, of_gradient(step), r.row_range(first, count), of_buffer(), b, b);
      buffer_.store(device, first, b);
    });
  }

  // gram ← own rows' part of MᵀM, after the momentum's own step.
  void add_up(Device& device, const RuleStep& step, const Tensor& r, const Tensor& gram) {
    advance(device, step, r);
    if (r.rows == 0) fill(device, gram, 0.0F);
    in_panels(device, r.rows, [&](int64_t first, int64_t count, const Tensor& m) {
      look_ahead(device, step, r.row_range(first, count), first, m);
      matmul(device, m, Transpose::kYes, m, Transpose::kNo, gram, 1.0F, first == 0 ? 0.0F : 1.0F);
    });
  }

  // M of rows from `first` on, from their gradient and B as it is kept.
  void look_ahead(Device& device, const RuleStep& step, const Tensor& r, int64_t first, const Tensor& m) {
    buffer_.load(device, first, m);
    if (options_.muon.nesterov) combine(device, of_gradient(step), r, of_buffer(), m, m);
  }

  // Blocks of rows, each orthogonalised for itself.
  void update_blocks(Device& device, const RuleStep& step, const Tensor& r) {
    if (r.rows == 0) return;
    advance(device, step, r);
    const int64_t height = matrix_.row_block;
    const int64_t width = matrix_.columns;
    const bool wide = height < width;
    const int64_t n = std::min(height, width);
    const Workspace squares(device, 2 * n * n * bytes_of(DataType::kFloat32));
    const Workspace memory(device, r.rows * width * bytes_of(DataType::kFloat32));
    const Tensor gram = squares.tensor(2 * n, n).row_range(0, n);
    const Tensor q = squares.tensor(2 * n, n).row_range(n, n);
    const Tensor all = memory.tensor(r.rows, width);
    look_ahead(device, step, r, 0, all);
    for (int64_t first = 0; first < r.rows; first += height) {
      const Tensor m = all.row_range(first, height);
      const Tensor own = r.row_range(first, height);
      matmul(device, m, wide ? Transpose::kNo : Transpose::kYes, m, wide ? Transpose::kYes : Transpose::kNo, gram);
      orthogonal_factor(device, polynomials_, safety(), gram, q);
      matmul(device, wide ? q : m, Transpose::kNo, wide ? m : q, Transpose::kNo, own);
    }
  }

  OptimizerOptions options_;
  CompactMatrix matrix_;
  std::vector<OddPolynomial> polynomials_;
  KeptMoment buffer_;
};

}  // namespace

std::unique_ptr<Moments> allocate_muon(const OptimizerOptions& options, const CompactMatrix& matrix, Arena& arena) {
  return std::make_unique<MuonMoments>(options, matrix, arena);
}

}  // namespace galleon
