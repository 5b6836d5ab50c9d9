#include "worker/engine/optim/row_bands.h"

#include <algorithm>

#include "kernels/ops/linear.h"

namespace galleon {

namespace {

constexpr int64_t kTile = 64;  // what products are computed in is whole where rows suffice

}  // namespace

RowBands::RowBands(Device& device, const Tensor& a, const Tensor& b, const Tensor& band)
    : device_(&device), a_(a), b_(b), rows_(a.columns), columns_(b.columns), band_(band) {
  GALLEON_CHECK(band.rows > 0 && band.columns == columns_) << shape_string(band) << " of " << rows_ << "x" << columns_;
}

int64_t RowBands::rows_at_once(int64_t rows, int64_t columns, int64_t bytes) {
  const int64_t most = std::max<int64_t>(1, bytes / (columns * bytes_of(DataType::kFloat32)));
  return std::min(rows, most >= kTile ? most / kTile * kTile : most);
}

const Tensor& RowBands::whole() const {
  GALLEON_CHECK(formed_) << "a gradient of " << rows_ << "x" << columns_ << " is not there as a whole";
  return band_;
}

void RowBands::visit(const std::function<void(int64_t, const Tensor&)>& visitor) {
  if (formed_) {
    visitor(0, band_);
    return;
  }
  for (int64_t first = 0; first < rows_; first += band_.rows) {
    const Tensor band = band_.row_range(0, std::min(band_.rows, rows_ - first));
    matmul(*device_, a_.column_range(first, band.rows), Transpose::kYes, b_, Transpose::kNo, band);
    formed_ = band.rows == rows_;
    visitor(first, band);
  }
}

}  // namespace galleon
