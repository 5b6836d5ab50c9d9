#include "kernels/cuda/kernels/row_teams.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kLanes = 16;  // parts that a block sums side by side

// Block: a warp's width of columns × kLanes, each of which sums every kLanes-th part; then the sums are added in order.
__global__ void __launch_bounds__(kWarp* kLanes)
    add_parts_kernel(int64_t parts, int64_t n, const float* __restrict__ partial, int64_t stride,
                     float* __restrict__ to) {
  __shared__ float sums[kLanes][kWarp];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  float sum = 0.0F;
  if (column < n) {
    for (int64_t part = threadIdx.y; part < parts; part += kLanes) sum += partial[part * stride + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < n) {
    float total = 0.0F;
    for (int i = 0; i < kLanes; ++i) total += sums[i][threadIdx.x];
    to[column] += total;
  }
}

}  // namespace

void add_parts(const Execution& on, int64_t parts, int64_t n, const float* partial, int64_t stride, float* to) {
  const auto blocks = static_cast<unsigned>(ceil_div(n, kWarp));
  launch<add_parts_kernel>(on, dim3(blocks), dim3(kWarp, kLanes), 0, parts, n, partial, stride, to);
}

}  // namespace galleon::cuda
