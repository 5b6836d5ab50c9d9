#include "worker/engine/optim/gradient.h"

#include <algorithm>

#include "kernels/math/multiples.h"
#include "kernels/ops/activation.h"
#include "worker/engine/optim/row_tiles.h"
#include "worker/engine/optim/rules.h"

namespace galleon {

Gradient Gradient::of(const Parameter& p, const Method& method, const Communicator& communicator) {
  Gradient g;
  g.content = p.rank > 0 ? Content::kProjectedGradient : Content::kDenseGradient;
  g.replicated = p.two_sided;
  g.shard_unit = galleon::shard_unit(method.options(), p);
  g.turn = p.turn;
  g.own = g.replicated
              ? RowRange{0, p.compact_rows()}
              : rows_of_rank(p.compact_rows(), communicator.rank(), communicator.ranks(), g.shard_unit, g.turn);
  GALLEON_CHECK(!p.sharded || g.replicated || (p.first_row == g.own.begin && p.shard_rows == g.own.count))
      << p.name << ": weights and moments are cut at different rows";
  int64_t rows = p.compact_rows();
  if (p.by_rows) {
    GALLEON_CHECK(method.updates_by_rows() && p.rank == 0 && !p.transposed) << p.name << " cannot be updated by rows";
    const int64_t most = RowTiles::rows_at_once(rows, p.columns(), method.options().piece_bytes);
    rows = most < rows ? std::max(g.shard_unit, most / g.shard_unit * g.shard_unit) : most;
  }
  const DataType type = p.by_rows ? DataType::kFloat32 : method.accumulator_type(p);
  g.accumulator = Tensor{nullptr, type, rows, p.compact_columns(), p.compact_columns()};
  return g;
}

void Gradient::begin_step() {
  filled = false;
  kept_filled = false;
  reduced = false;
  skipped = false;
}

int64_t Gradient::staged_bytes() const {
  return round_up(accumulator.bytes(), kStagedAlignment);
}

void Gradient::keep_own_rows(Device& device) {
  if (!keeps) return;
  const Tensor sum = accumulator.row_range(own.begin, own.count);
  if (sum.rows > 0 && kept_filled) add(device, sum, kept);
  if (sum.rows > 0 && !kept_filled) copy(device, sum, kept);
  kept_filled = true;
  filled = false;
}

}  // namespace galleon
