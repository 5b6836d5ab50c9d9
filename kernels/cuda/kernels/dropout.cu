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
__global__ void dropout_wide_kernel(int64_t rows, int64_t pieces, const T* x, int64_t ldx, uint64_t seed,
                                    uint64_t stream, int64_t first, const int32_t* row_numbers,
                                    uint32_t threshold, float scale, T* y, int64_t ldy) {
  constexpr int kCount = Pack<T>::kCount;
  for (int64_t i = grid_thread(); i < rows * pieces; i += grid_threads()) {
    const int64_t row = i / pieces;
    const int64_t column = (i - row * pieces) * kCount;
    Pack<T> pack = load_pack(x + row * ldx + column);
    const int64_t counter = (first + number_of_row(row_numbers, row) * pieces * kCount + column) / 4;
#pragma unroll
    for (int c = 0; c < kCount / 4; ++c) {
      const math::Philox words = math::philox(seed, static_cast<uint64_t>(counter + c), stream);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        T& number = pack.value[4 * c + j];
        math::store(number, words.word[j] < threshold ? 0.0F : math::load(number) * scale);
      }
    }
    store_pack(y + row * ldy + column, pack);
  }
}

// A thread takes the elements of one counter that lie in a row; a row has at most `counters` of them.
template <typename T>
__global__ void dropout_kernel(int64_t rows, int64_t n, int64_t counters, const T* x, int64_t ldx, uint64_t seed,
                               uint64_t stream, int64_t first, const int32_t* row_numbers, uint32_t threshold, float scale,
                               T* y, int64_t ldy) {
  for (int64_t i = grid_thread(); i < rows * counters; i += grid_threads()) {
    const int64_t row = i / counters;
    const int64_t origin = first + number_of_row(row_numbers, row) * n;
    const int64_t counter = origin / 4 + (i - row * counters);
    const math::Philox words = math::philox(seed, static_cast<uint64_t>(counter), stream);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = counter * 4 + j - origin;
      if (column < 0 || column >= n) continue;
      math::store(y[row * ldy + column], words.word[j] < threshold ? 0.0F : math::load(x[row * ldx + column]) * scale);
    }
  }
}

template <typename T>
void dropout(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, uint64_t seed, uint64_t stream,
             int64_t first, const int32_t* row_numbers, uint32_t threshold, float scale, T* y, int64_t ldy) {
  by_pieces<T>(n, {{x, rows > 1 ? ldx : 0}, {y, rows > 1 ? ldy : 0}}, [&]<int count>() {
    if (count > 1 && first % 4 == 0) {
      const int64_t pieces = n / Pack<T>::kCount;
      launch<dropout_wide_kernel<T>>(on, blocks_for(rows * pieces, kThreads), kThreads, 0, rows, pieces, x, ldx, seed,
                                     stream, first, row_numbers, threshold, scale, y, ldy);
    } else {
      const int64_t counters = (n + 2) / 4 + 1;
      launch<dropout_kernel<T>>(on, blocks_for(rows * counters, kThreads), kThreads, 0, rows, n, counters, x, ldx, seed,
                                stream, first, row_numbers, threshold, scale, y, ldy);
    }
  });
}

}  // namespace

void fill_dropout(OperationTable& table) {
  table.f32.dropout = dropout<float>;
  table.bf16.dropout = dropout<BFloat16>;
}

}  // namespace galleon::cuda
