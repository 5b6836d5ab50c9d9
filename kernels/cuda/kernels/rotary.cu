// Rotary positions: the table of cosines and sines, and the rotation.
#include "kernels/math/rotary.h"

#include "common/base/check.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostFrequencies = 256;

// A kernel's parameters hold 4 KiB.
struct Frequencies {
  double of_pair[kMostFrequencies];
};

__global__ void rotary_table_kernel(int64_t sequence, int64_t half, Frequencies frequencies, double factor,
                                    float* __restrict__ table, int64_t ldt) {
  for (int64_t i = grid_thread(); i < sequence * half; i += grid_threads()) {
    const int64_t position = i / half;
    const int64_t pair = i - position * half;
    const double angle = static_cast<double>(position) * frequencies.of_pair[pair];
    table[position * ldt + pair] = static_cast<float>(factor * cos(angle));
    table[position * ldt + half + pair] = static_cast<float>(factor * sin(angle));
  }
}

void rotary_table(const Execution& on, int64_t sequence, int64_t dimension, const double* frequencies, double factor,
                  Matrix<float> table) {
  const int64_t half = dimension / 2;
  GALLEON_CHECK(half <= kMostFrequencies)
      << "rotary positions of " << dimension << " dimensions; a GPU takes " << 2 * kMostFrequencies;
  Frequencies passed{};
  std::copy_n(frequencies, half, passed.of_pair);
  launch<rotary_table_kernel>(on, blocks_for(sequence * half, kThreads), kThreads, 0, sequence, half, passed, factor,
                              table.data, table.stride);
}

// A thread rotates `count` pairs of a head.
template <typename T, int count>
__global__ void rotary_kernel(int64_t tokens, int64_t sequence, int64_t heads, int64_t half, T* x, int64_t ldx,
                              const float* __restrict__ table, int64_t ldt, float sign) {
  const int64_t pieces = half / count;
  const int64_t per_token = heads * pieces;
  for (int64_t i = grid_thread(); i < tokens * per_token; i += grid_threads()) {
    const int64_t token = i / per_token;
    const int64_t within = i - token * per_token;
    const int64_t head = within / pieces;
    const int64_t pair = (within - head * pieces) * count;
    const float* at = table + token % sequence * ldt + pair;
    const Piece<float, count> cosine = load_piece<count>(at);
    const Piece<float, count> sine = load_piece<count>(at + half);
    T* first_at = x + token * ldx + head * 2 * half + pair;
    Piece<T, count> first = load_piece<count>(first_at);
    Piece<T, count> second = load_piece<count>(first_at + half);
#pragma unroll
    for (int j = 0; j < count; ++j) {
      float a = math::load(first.value[j]);
      float b = math::load(second.value[j]);
      math::rotate(a, b, cosine.value[j], sign * sine.value[j]);
      math::store(first.value[j], a);
      math::store(second.value[j], b);
    }
    store_piece(first_at, first);
    store_piece(first_at + half, second);
  }
}

template <typename T>
void rotary(const Execution& on, const Rotary<T>& a) {
  const int64_t half = a.dimension / 2;
  const float sign = a.backward ? -1.0F : 1.0F;
  const auto run = [&]<int count>() {
    launch<rotary_kernel<T, count>>(on, blocks_for(a.tokens * a.heads * half / count, kThreads), kThreads, 0, a.tokens,
                                    a.sequence, a.heads, half, a.x.data, a.x.stride, a.table.data, a.table.stride,
                                    sign);
  };
  by_pieces<T>(half, {a.x}, [&]<int count>() {
    if (rows_aligned(2, a.table)) {
      run.template operator()<count>();
    } else {
      run.template operator()<1>();
    }
  });
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.rotary = rotary<T>;
}

}  // namespace

void fill_rotary(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.rotary_table = rotary_table;
}

}  // namespace galleon::cuda
