#include "kernels/cuda/planning_table.h"

#include "kernels/cuda/kernels/row_scratch_sizes.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/workspaces.h"

namespace galleon::cuda {

namespace {

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.matmul_workspace = [](bool, bool, int64_t m, int64_t n, int64_t) { return product_workspace(m, n); };
}

}  // namespace

void fill_workspaces(OperationTable& table) {
  table.panel_bytes = kPanelBytes;
  fill_typed(table.f32);
  fill_typed(table.bf16);
  fill_row_scratch_sizes(table);
  fill_scratch_sizes(table);
  table.right_singular_vectors_workspace = singular_vectors_workspace;
  table.orthonormalize_workspace = orthonormalize_workspace;
}

}  // namespace galleon::cuda
