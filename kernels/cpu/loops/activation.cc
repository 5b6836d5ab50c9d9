// Elementwise loops over rows with strides, cut into pieces that threads share.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/gelu.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kPiece = 8192;  // elements, so that a few streams of a piece stay in L1/L2

// Calls body(row, begin, count) for every piece of a rows×n matrix, whose elements take `picoseconds` each.
template <typename Body>
inline __attribute__((always_inline)) void for_pieces(const Execution& on, int64_t rows, int64_t n, int64_t picoseconds,
                                                      Body body) {
  const int64_t per_row = ceil_div(n, kPiece);
  const int64_t pieces = rows * per_row;
  const bool parallel = worth_threads(rows * n, picoseconds);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t row = i / per_row;
    const int64_t begin = i % per_row * kPiece;
    body(row, begin, n - begin < kPiece ? n - begin : kPiece);
  }
}

template <typename T>
void swiglu(const Execution& on, int64_t rows, int64_t n, Matrix<const T> gate, Matrix<const T> up, Matrix<T> out) {
  for_pieces(on, rows, n, 400, [=](int64_t row, int64_t begin, int64_t count) {
    const T* g = gate.row(row) + begin;
    const T* u = up.row(row) + begin;
    T* o = out.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(o[i], math::swiglu(math::load(g[i]), math::load(u[i])));
  });
}

template <typename T>
void swiglu_backward(const Execution& on, const SwigluBackward<T>& args) {
  for_pieces(on, args.rows, args.n, 500, [=](int64_t row, int64_t begin, int64_t count) {
    const T* g = args.gate.row(row) + begin;
    const T* u = args.up.row(row) + begin;
    const T* d = args.dout.row(row) + begin;
    T* dg = args.dgate.row(row) + begin;
    T* du = args.dup.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      float a;
      float b;
      math::swiglu_backward(math::load(g[i]), math::load(u[i]), math::load(d[i]), a, b);
      math::store(dg[i], a);
      math::store(du[i], b);
    }
  });
}

template <typename T>
void gelu(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x, Matrix<T> y) {
  for_pieces(on, rows, n, 500, [=](int64_t row, int64_t begin, int64_t count) {
    const T* a = x.row(row) + begin;
    T* b = y.row(row) + begin;
    if (tanh_form) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) math::store(b[i], math::gelu_tanh(math::load(a[i])));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) math::store(b[i], math::gelu(math::load(a[i])));
    }
  });
}

template <typename T>
void gelu_backward(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x, Matrix<const T> dy,
                   Matrix<T> dx) {
  for_pieces(on, rows, n, 600, [=](int64_t row, int64_t begin, int64_t count) {
    const T* a = x.row(row) + begin;
    const T* d = dy.row(row) + begin;
    T* out = dx.row(row) + begin;
    if (tanh_form) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i)
        math::store(out[i], math::load(d[i]) * math::gelu_tanh_slope(math::load(a[i])));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) math::store(out[i], math::load(d[i]) * math::gelu_slope(math::load(a[i])));
    }
  });
}

template <typename T>
void hyperbolic_tangent(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  for_pieces(on, rows, n, 400, [=](int64_t row, int64_t begin, int64_t count) {
    const T* a = x.row(row) + begin;
    T* b = y.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(b[i], math::hyperbolic_tangent(math::load(a[i])));
  });
}

template <typename T>
void hyperbolic_tangent_backward(const Execution& on, int64_t rows, int64_t n, Matrix<const T> y, Matrix<const T> dy,
                                 Matrix<T> dx) {
  for_pieces(on, rows, n, 150, [=](int64_t row, int64_t begin, int64_t count) {
    const T* b = y.row(row) + begin;
    const T* d = dy.row(row) + begin;
    T* out = dx.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      const float value = math::load(b[i]);
      math::store(out[i], math::load(d[i]) * (1.0F - value * value));
    }
  });
}

template <typename T>
void add(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    const T* a = x.row(row) + begin;
    T* b = y.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(b[i], math::load(b[i]) + math::load(a[i]));
  });
}

template <typename T>
void fill(const Execution& on, int64_t rows, int64_t n, Matrix<T> x, float value) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    T* a = x.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(a[i], value);
  });
}

template <typename From, typename To>
void convert(const Execution& on, int64_t rows, int64_t n, Matrix<const From> x, Matrix<To> y) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    const From* a = x.row(row) + begin;
    To* b = y.row(row) + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) math::store(b[i], math::load(a[i]));
  });
}

void copy_bytes(const Execution& on, int64_t rows, int64_t row_bytes, Matrix<const char> x, Matrix<char> y) {
  for_pieces(on, rows, row_bytes, 25, [=](int64_t row, int64_t begin, int64_t count) {
    __builtin_memcpy(y.row(row) + begin, x.row(row) + begin, static_cast<std::size_t>(count));
  });
}

// Squares of 32×32 go through a small buffer, so that both reads and writes are along rows.
template <typename T>
void transpose(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  constexpr int64_t tile_size = 32;
  const int64_t row_tiles = ceil_div(rows, tile_size);
  const int64_t column_tiles = ceil_div(n, tile_size);
  const bool parallel = worth_threads(rows * n, 500);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t tile = 0; tile < row_tiles * column_tiles; ++tile) {
    const int64_t r0 = tile / column_tiles * tile_size;
    const int64_t c0 = tile % column_tiles * tile_size;
    const int64_t height = rows - r0 < tile_size ? rows - r0 : tile_size;
    const int64_t width = n - c0 < tile_size ? n - c0 : tile_size;
    T square[tile_size][tile_size];
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t c = 0; c < width; ++c) square[c][r] = x.row(r0 + r)[c0 + c];
    }
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < height; ++r) y.row(c0 + c)[r0 + r] = square[c][r];
    }
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.swiglu = swiglu<T>;
  table.swiglu_backward = swiglu_backward<T>;
  table.gelu = gelu<T>;
  table.gelu_backward = gelu_backward<T>;
  table.hyperbolic_tangent = hyperbolic_tangent<T>;
  table.hyperbolic_tangent_backward = hyperbolic_tangent_backward<T>;
  table.add = add<T>;
  table.fill = fill<T>;
  table.transpose = transpose<T>;
  table.from_fp32 = convert<float, T>;
  table.to_fp32 = convert<T, float>;
}

}  // namespace

void fill_activation(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.copy_bytes = copy_bytes;
}

}  // namespace galleon::cpu::GALLEON_ISA
