// A dense gradient as the search for a basis goes over it: some rows after the other.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/device.h"

namespace galleon {

class RowTiles {
 public:
  // A gradient that is there: one tile.
  explicit RowTiles(const Tensor& g) : rows_(g.rows), columns_(g.columns), tile_(g), formed_(true) {}
  // Some rows of one, from `first` on, of a gradient of which other ranks have the others: one tile, or none.
  RowTiles(const Tensor& own, int64_t first, int64_t rows)
      : rows_(rows), columns_(own.columns), tile_(own), first_(first), formed_(true), partial_(true) {}
  // G = aᵀ·b, of which a tile at a time lies in `tile` (fp32, columns as G). a: tokens×rows, b: tokens×columns. Each
  // visit forms the tiles again, unless one is all.
  RowTiles(Device& device, const Tensor& a, const Tensor& b, const Tensor& tile);

  // Rows of a tile of at most `bytes`, or of one row.
  static int64_t rows_at_once(int64_t rows, int64_t columns, int64_t bytes);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  // Whether a visit leaves rows out.
  bool partial() const { return partial_; }
  // All of it, where it is there.
  const Tensor& whole() const;
  // visitor(first row, tile) for each tile from the first row on; a tile is valid during the call alone.
  void visit(const std::function<void(int64_t, const Tensor&)>& visitor);

 private:
  Device* device_ = nullptr;
  Tensor a_, b_;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  Tensor tile_;
  int64_t first_ = 0;
  bool formed_ = false;  // `tile_` is all of it, and there
  bool partial_ = false;
};

}  // namespace galleon
