// Normal numbers by element index. Compiled without fused products, so that a GPU gives the CPU's bits.
#include "kernels/math/random.h"

#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

// A thread makes the four numbers of one counter. `wide`: they are 16 aligned bytes of x.
template <bool wide>
__global__ void fill_normal_kernel(int64_t size, NormalNumbers numbers, float* __restrict__ x) {
  const int64_t first = numbers.first;
  const int64_t last = (first + size - 1) / 4;
  for (int64_t counter = first / 4 + grid_thread(); counter <= last; counter += grid_threads()) {
    const math::Philox words = math::philox(numbers.seed, static_cast<uint64_t>(counter), numbers.stream);
    Pack<float> normal;
    math::box_muller(words.word[0], words.word[1], normal.value[0], normal.value[1]);
    math::box_muller(words.word[2], words.word[3], normal.value[2], normal.value[3]);
    for (float& number : normal.value) number = numbers.mean + numbers.deviation * number;
    const int64_t at = counter * 4 - first;
    if (wide && at >= 0 && at + 4 <= size) {
      store_pack(x + at, normal);
      continue;
    }
    for (int i = 0; i < 4; ++i) {
      if (at + i >= 0 && at + i < size) x[at + i] = normal.value[i];
    }
  }
}

void fill_normal(const Execution& on, int64_t size, const NormalNumbers& numbers, float* x) {
  const int64_t first = numbers.first;
  const int64_t counters = (first + size - 1) / 4 - first / 4 + 1;
  const dim3 blocks = blocks_for(counters, kThreads);
  // Where the number `first - first % 4` would lie.
  if ((reinterpret_cast<uintptr_t>(x) - static_cast<uintptr_t>(first % 4) * sizeof(float)) % 16 == 0) {
    launch<fill_normal_kernel<true>>(on, blocks, kThreads, 0, size, numbers, x);
  } else {
    launch<fill_normal_kernel<false>>(on, blocks, kThreads, 0, size, numbers, x);
  }
}

}  // namespace

void fill_random(OperationTable& table) {
  table.fill_normal = fill_normal;
}

}  // namespace galleon::cuda
