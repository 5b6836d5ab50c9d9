// Rows of a table by token.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

template <typename T>
void embedding(const Execution& on, int64_t tokens, int64_t hidden, int64_t, const int32_t* ids, Matrix<const T> table,
               Matrix<T> x) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(tokens * hidden, 100))
  for (int64_t t = 0; t < tokens; ++t) {
    __builtin_memcpy(x.row(t), table.row(ids[t]), static_cast<std::size_t>(hidden) * sizeof(T));
  }
}

// Threads share the hidden columns, in strips of whole cache lines, and each walks all tokens: the order of additions
// to any number is that of the tokens.
template <typename T>
void embedding_backward(const Execution& on, int64_t tokens, int64_t hidden, int64_t, const int32_t* ids,
                        Matrix<const T> dx, Matrix<float> dtable, void*) {
  const int64_t width = round_up(ceil_div(hidden, on.threads), 16);
  const int64_t strips = ceil_div(hidden, width);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(tokens * hidden, 100))
  for (int64_t strip = 0; strip < strips; ++strip) {
    const int64_t begin = strip * width;
    const int64_t count = hidden - begin < width ? hidden - begin : width;
    for (int64_t t = 0; t < tokens; ++t) {
      const T* d = dx.row(t) + begin;
      float* row = dtable.row(ids[t]) + begin;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) row[i] += math::load(d[i]);
    }
  }
}

int64_t embedding_backward_workspace(int64_t) {
  return 0;
}

int64_t first_outside(const Execution&, int64_t count, const int32_t* ids, int64_t low, int64_t high) {
  bool outside = false;
#pragma omp simd reduction(| : outside)
  for (int64_t i = 0; i < count; ++i) outside |= ids[i] < low || ids[i] >= high;
  if (!outside) return -1;
  int64_t i = 0;
  while (ids[i] >= low && ids[i] < high) ++i;
  return i;
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.embedding = embedding<T>;
  table.embedding_backward = embedding_backward<T>;
  table.embedding_backward_workspace = embedding_backward_workspace;
}

}  // namespace

void fill_embedding(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.first_outside = first_outside;
}

}  // namespace galleon::cpu::GALLEON_ISA
