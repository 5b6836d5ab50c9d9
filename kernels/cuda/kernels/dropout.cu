// Dropout by element index: the mask is a function of it alone.
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/random.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ int64_t number_of_row(const int32_t* row_numbers, int64_t row) {
  return row_numbers == nullptr ? row : row_numbers[row];
}

// Pieces of 16 bytes, whose first element's number is a multiple of 4: a counter gives the words of four.
template <typename T>
__global__ void dropout_wide_kernel(Dropout<T> a, int64_t pieces) {
  constexpr int kCount = Pack<T>::kCount;
  for (int64_t i = grid_thread(); i < a.rows * pieces; i += grid_threads()) {
    const int64_t row = i / pieces;
    const int64_t column = (i - row * pieces) * kCount;
    Pack<T> pack = load_pack(a.x.row(row) + column);
    const int64_t counter = (a.words.first + number_of_row(a.row_numbers, row) * pieces * kCount + column) / 4;
#pragma unroll
    for (int c = 0; c < kCount / 4; ++c) {
      const math::Philox words = math::philox(a.words.seed, static_cast<uint64_t>(counter + c), a.words.stream);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        T& number = pack.value[4 * c + j];
        math::store(number, words.word[j] < a.words.threshold ? 0.0F : math::load(number) * a.words.scale);
      }
    }
    store_pack(a.y.row(row) + column, pack);
  }
}

// A thread takes the elements of one counter that lie in a row; a row has at most `counters` of them.
template <typename T>
__global__ void dropout_kernel(Dropout<T> a, int64_t counters) {
  for (int64_t i = grid_thread(); i < a.rows * counters; i += grid_threads()) {
    const int64_t row = i / counters;
    const int64_t origin = a.words.first + number_of_row(a.row_numbers, row) * a.n;
    const int64_t counter = origin / 4 + (i - row * counters);
    const math::Philox words = math::philox(a.words.seed, static_cast<uint64_t>(counter), a.words.stream);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = counter * 4 + j - origin;
      if (column < 0 || column >= a.n) continue;
      math::store(a.y.row(row)[column],
                  words.word[j] < a.words.threshold ? 0.0F : math::load(a.x.row(row)[column]) * a.words.scale);
    }
  }
}

template <typename T>
void dropout(const Execution& on, const Dropout<T>& a) {
  by_pieces<T>(a.n, {{a.x.data, a.rows > 1 ? a.x.stride : 0}, {a.y.data, a.rows > 1 ? a.y.stride : 0}},
               [&]<int count>() {
                 if (count > 1 && a.words.first % 4 == 0) {
                   const int64_t pieces = a.n / Pack<T>::kCount;
                   launch<dropout_wide_kernel<T>>(on, blocks_for(a.rows * pieces, kThreads), kThreads, 0, a, pieces);
                 } else {
                   const int64_t counters = (a.n + 2) / 4 + 1;
                   launch<dropout_kernel<T>>(on, blocks_for(a.rows * counters, kThreads), kThreads, 0, a, counters);
                 }
               });
}

}  // namespace

void fill_dropout(OperationTable& table) {
  table.f32.dropout = dropout<float>;
  table.bf16.dropout = dropout<BFloat16>;
}

}  // namespace galleon::cuda
