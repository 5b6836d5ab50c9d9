// Operations number by number over rows with strides: threads move 16 bytes at a time where addresses and strides
// allow, and the ends of rows, or everything else, one number at a time.
#pragma once

#include <algorithm>

#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {

// An operand that is moved in pieces; a stride of 0 repeats one row.
template <typename T>
struct Rows : Matrix<T> {
  template <int count>
  __device__ __forceinline__ auto load(int64_t row, int64_t column) const {
    return load_piece<count>(this->row(row) + column);
  }
  template <int count>
  __device__ __forceinline__ void store(int64_t row, int64_t column,
                                        const Piece<std::remove_const_t<T>, count>& piece) const {
    store_piece(this->row(row) + column, piece);
  }
  bool aligned(int64_t rows) const { return rows_aligned(rows, *this); }
};
template <typename T>
Rows<T> rows_of(const Matrix<T>& matrix) {
  return {matrix};
}
template <typename T>
Rows<T> vector_rows(T* data) {
  return {{data, 0}};
}

// Calls body.at<count>(row, column) for every piece of `count` numbers, and body.at<1> for what is left of a row.
template <int count, typename Body>
__global__ void __launch_bounds__(256) elementwise_kernel(int64_t rows, int64_t n, Body body) {
  const int64_t down = static_cast<int64_t>(gridDim.y) * blockDim.y;
  const int64_t across = static_cast<int64_t>(gridDim.x) * blockDim.x * count;
  for (int64_t row = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows; row += down) {
    for (int64_t column = grid_thread() * count; column < n; column += across) {
      if (column + count <= n) {
        body.template at<count>(row, column);
      } else {
        for (int64_t last = column; last < n; ++last) body.template at<1>(row, last);
      }
    }
  }
}

// Blocks of 256 threads that cover rows×pieces: as wide as the rows, and as many as keep a GPU busy.
struct ElementwiseGrid {
  dim3 grid;
  dim3 block;
};
inline ElementwiseGrid elementwise_grid(int64_t rows, int64_t pieces) {
  constexpr int64_t kThreads = 256;
  int64_t width = 1;
  while (width < kThreads && width < pieces) width *= 2;
  const int64_t height = kThreads / width;
  const dim3 across = blocks_for(pieces, width);
  const int64_t most_down = std::min<int64_t>(65535, std::max<int64_t>(1, blocks_for(INT64_MAX / 2, 1).x / across.x));
  const int64_t down = std::min(ceil_div(rows, height), most_down);
  return {dim3(across.x, static_cast<unsigned>(down)),
          dim3(static_cast<unsigned>(width), static_cast<unsigned>(height))};
}

// `wide`: every operand's rows are aligned. `count`: numbers in 16 bytes of the narrowest operand.
template <int count, typename Body>
void elementwise(const Execution& on, int64_t rows, int64_t n, bool wide, const Body& body) {
  const ElementwiseGrid shape = elementwise_grid(rows, wide ? ceil_div(n, count) : n);
  if (wide) {
    launch<elementwise_kernel<count, Body>>(on, shape.grid, shape.block, 0, rows, n, body);
  } else {
    launch<elementwise_kernel<1, Body>>(on, shape.grid, shape.block, 0, rows, n, body);
  }
}

// to ← formula(from) and to ← formula(first, second), in fp32, rounded once; `to` may be an operand.
template <typename Formula, typename To, typename From>
struct Map1 {
  Formula formula;
  Rows<const From> from;
  Rows<To> to;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto x = from.template load<count>(row, column);
    Piece<To, count> y;
#pragma unroll
    for (int i = 0; i < count; ++i) store_rounded(y.value[i], formula(math::load(x.value[i])));
    to.template store<count>(row, column, y);
  }
};
template <typename Formula, typename To, typename First, typename Second>
struct Map2 {
  Formula formula;
  Rows<const First> first;
  Rows<const Second> second;
  Rows<To> to;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto a = first.template load<count>(row, column);
    const auto b = second.template load<count>(row, column);
    Piece<To, count> y;
#pragma unroll
    for (int i = 0; i < count; ++i) store_rounded(y.value[i], formula(math::load(a.value[i]), math::load(b.value[i])));
    to.template store<count>(row, column, y);
  }
};

template <typename... T>
inline constexpr int kPackOf = std::max({Pack<std::remove_const_t<T>>::kCount...});

template <typename Formula, typename From, typename To>
void map(const Execution& on, int64_t rows, int64_t n, Formula formula, Rows<const From> from, Rows<To> to) {
  elementwise<kPackOf<From, To>>(on, rows, n, from.aligned(rows) && to.aligned(rows),
                                 Map1<Formula, To, From>{formula, from, to});
}
template <typename Formula, typename First, typename Second, typename To>
void map(const Execution& on, int64_t rows, int64_t n, Formula formula, Rows<const First> first,
         Rows<const Second> second, Rows<To> to) {
  elementwise<kPackOf<First, Second, To>>(on, rows, n, first.aligned(rows) && second.aligned(rows) && to.aligned(rows),
                                          Map2<Formula, To, First, Second>{formula, first, second, to});
}

}  // namespace galleon::cuda
