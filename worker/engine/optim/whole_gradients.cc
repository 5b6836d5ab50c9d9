#include "worker/engine/optim/whole_gradients.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "kernels/ops/activation.h"

namespace galleon {

namespace {

Tensor shaped(const Tensor& memory, int64_t rows, int64_t columns) {
  return {memory.data, memory.type, rows, columns, columns};
}

}  // namespace

WholeGradients::WholeGradients(const Method& method, const std::vector<ProjectedPath*>& matrices, int sums,
                               Arena& arena, Communicator& communicator)
    : one_pass_(method.micro_batches() == 1) {
  if (matrices.empty() || (!method.refreshes_from_gradients() && !method.options().clip_dense)) return;
  int64_t size = 0;
  for (const ProjectedPath* path : matrices) {
    const int64_t rows = path->parameter().rows();
    const int64_t columns = path->parameter().columns();
    const int64_t formed =
        method.refreshes_in_tiles() ? RowTiles::rows_at_once(rows, columns, method.options().piece_bytes) : rows;
    size = std::max(size, formed * columns);
  }
  scratch_ = arena.tensor("dense gradient", MemoryCategory::kGradients, size, 1);
  communicator.guard(scratch_);
  if (!method.sends_whole_gradients()) {
    communicator.never(Content::kProjectedDense);
  } else if (method.ranks() > 1) {
    collected_ = arena.tensor("collected dense gradient", MemoryCategory::kGradients, size, 1);
    communicator.guard(collected_);
  }
  for (int i = 0; i < sums; ++i) {
    sums_.push_back({arena.tensor(absl::StrCat("dense gradient ", i), MemoryCategory::kGradients, size, 1)});
    communicator.guard(sums_.back().memory);
  }
}

Tensor WholeGradients::scratch(const Parameter& p) const {
  return shaped(scratch_, p.rows(), p.columns());
}

Tensor WholeGradients::tile(const Parameter& p, int64_t rows) const {
  return shaped(scratch_, rows, p.columns());
}

Tensor WholeGradients::sum(const Parameter& p) {
  if (one_pass_) return scratch(p);
  auto lent = std::find_if(sums_.begin(), sums_.end(), [&](const Sum& sum) { return sum.lent_to == p.index; });
  if (lent == sums_.end()) {
    lent = std::find_if(sums_.begin(), sums_.end(), [](const Sum& sum) { return sum.lent_to < 0; });
    GALLEON_CHECK(lent != sums_.end()) << "no dense gradient left for " << p.name;
    lent->lent_to = p.index;
  }
  return shaped(lent->memory, p.rows(), p.columns());
}

void WholeGradients::give_back(const Parameter& p) {
  for (Sum& sum : sums_) {
    if (sum.lent_to == p.index) sum.lent_to = -1;
  }
}

Tensor WholeGradients::keep_collected(Device& device, const Tensor& g) {
  collected_ = shaped(collected_, g.rows, g.columns);
  copy(device, g, collected_);
  return collected_;
}

}  // namespace galleon
