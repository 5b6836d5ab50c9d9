#include "worker/engine/optim/gradient_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/ops/reduction.h"

namespace galleon {

namespace {

constexpr int64_t kSquareBytes = sizeof(double);

}  // namespace

GradientNorm::GradientNorm(int64_t parameters, Arena& arena)
    : noted_squares_(arena.tensor("squares of gradients", MemoryCategory::kGradients, parameters * kSquareBytes, 1,
                                  DataType::kUint8)) {}

void GradientNorm::begin_step() {
  squares_ = 0;
  not_finite_ = -1;
  noted_.clear();
}

void GradientNorm::note(Device& device, GradientPath& path) {
  const auto at = static_cast<int64_t>(noted_.size()) * kSquareBytes;
  note_sum_of_squares(device, path.gradient().own_rows(), noted_squares_.row_range(at, kSquareBytes));
  noted_.push_back(&path);
}

std::vector<GradientNorm::Noted> GradientNorm::read(Device& device) {
  std::vector<double> squares(noted_squares_.rows / kSquareBytes);
  if (!noted_.empty()) device.download(squares.data(), noted_squares_);
  std::vector<Noted> all;
  for (size_t i = 0; i < noted_.size(); ++i) all.push_back({noted_[i], squares[i]});
  noted_.clear();
  return all;
}

void GradientNorm::add(const Parameter& p, double squares) {
  squares_ += squares;
  if (!std::isfinite(squares)) not_finite_ = std::max(not_finite_, p.index);
}

}  // namespace galleon
