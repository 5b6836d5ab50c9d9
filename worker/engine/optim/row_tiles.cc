#include "worker/engine/optim/row_tiles.h"

#include <algorithm>

#include "kernels/ops/linear.h"

namespace galleon {

namespace {

constexpr int64_t kWholeRows = 64;  // what products are computed in is whole where rows suffice

}  // namespace

RowTiles::RowTiles(Device& device, const Tensor& a, const Tensor& b, const Tensor& tile)
    : device_(&device), a_(a), b_(b), rows_(a.columns), columns_(b.columns), tile_(tile) {
  GALLEON_CHECK(tile.rows > 0 && tile.columns == columns_) << shape_string(tile) << " of " << rows_ << "x" << columns_;
}

int64_t RowTiles::rows_at_once(int64_t rows, int64_t columns, int64_t bytes) {
  const int64_t most = std::max<int64_t>(1, bytes / (columns * bytes_of(DataType::kFloat32)));
  return std::min(rows, most >= kWholeRows ? most / kWholeRows * kWholeRows : most);
}

const Tensor& RowTiles::whole() const {
  GALLEON_CHECK(formed_) << "a gradient of " << rows_ << "x" << columns_ << " is not there as a whole";
  return tile_;
}

void RowTiles::visit(const std::function<void(int64_t, const Tensor&)>& visitor) {
  if (formed_) {
    if (!partial_ || tile_.rows > 0) visitor(first_, tile_);
    return;
  }
  for (int64_t first = 0; first < rows_; first += tile_.rows) {
    const Tensor tile = tile_.row_range(0, std::min(tile_.rows, rows_ - first));
    matmul(*device_, a_.column_range(first, tile.rows), Transpose::kYes, b_, Transpose::kNo, tile);
    formed_ = tile.rows == rows_;
    visitor(first, tile);
  }
}

}  // namespace galleon
