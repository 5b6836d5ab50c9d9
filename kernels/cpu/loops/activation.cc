// Elementwise loops over rows with strides, cut into pieces that threads share.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/swiglu.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kPiece = 8192;  // elements, so that a few streams of a piece stay in L1/L2

// Calls body(row, begin, count) for every piece of a rows×n matrix, whose elements take `picoseconds` each.
template <typename Body>
inline __attribute__((always_inline)) void for_pieces(const Execution& on, int64_t rows, int64_t n, int64_t picoseconds,
                                                      Body body) {
  const int64_t per_row = (n + kPiece - 1) / kPiece;
  const int64_t pieces = rows * per_row;
  const bool parallel = worth_threads(rows * n, picoseconds);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t row = i / per_row;
    const int64_t begin = i % per_row * kPiece;
    body(row, begin, n - begin < kPiece ? n - begin : kPiece);
  }
}

void swiglu(const Execution& on, int64_t rows, int64_t n, const float* gate, int64_t ldg, const float* up, int64_t ldu,
            float* out, int64_t ldo) {
  for_pieces(on, rows, n, 400, [=](int64_t row, int64_t begin, int64_t count) {
    const float* g = gate + row * ldg + begin;
    const float* u = up + row * ldu + begin;
    float* o = out + row * ldo + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) o[i] = math::swiglu(g[i], u[i]);
  });
}

void swiglu_backward(const Execution& on, int64_t rows, int64_t n, const float* gate, int64_t ldg, const float* up,
                     int64_t ldu, const float* dout, int64_t lddo, float* dgate, int64_t lddg, float* dup,
                     int64_t lddu) {
  for_pieces(on, rows, n, 500, [=](int64_t row, int64_t begin, int64_t count) {
    const float* g = gate + row * ldg + begin;
    const float* u = up + row * ldu + begin;
    const float* d = dout + row * lddo + begin;
    float* dg = dgate + row * lddg + begin;
    float* du = dup + row * lddu + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      float a;
      float b;
      math::swiglu_backward(g[i], u[i], d[i], a, b);
      dg[i] = a;
      du[i] = b;
    }
  });
}

void add(const Execution& on, int64_t rows, int64_t n, const float* x, int64_t ldx, float* y, int64_t ldy) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    const float* a = x + row * ldx + begin;
    float* b = y + row * ldy + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) b[i] += a[i];
  });
}

void fill(const Execution& on, int64_t rows, int64_t n, float* x, int64_t ldx, float value) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    float* a = x + row * ldx + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) a[i] = value;
  });
}

void copy(const Execution& on, int64_t rows, int64_t n, const uint32_t* x, int64_t ldx, uint32_t* y, int64_t ldy) {
  for_pieces(on, rows, n, 100, [=](int64_t row, int64_t begin, int64_t count) {
    __builtin_memcpy(y + row * ldy + begin, x + row * ldx + begin, static_cast<std::size_t>(count) * sizeof(uint32_t));
  });
}

// Squares of 32×32 go through a small buffer, so that both reads and writes are along rows.
void transpose(const Execution& on, int64_t rows, int64_t n, const float* x, int64_t ldx, float* y, int64_t ldy) {
  constexpr int64_t tile_size = 32;
  const int64_t row_tiles = (rows + tile_size - 1) / tile_size;
  const int64_t column_tiles = (n + tile_size - 1) / tile_size;
  const bool parallel = worth_threads(rows * n, 500);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t tile = 0; tile < row_tiles * column_tiles; ++tile) {
    const int64_t r0 = tile / column_tiles * tile_size;
    const int64_t c0 = tile % column_tiles * tile_size;
    const int64_t height = rows - r0 < tile_size ? rows - r0 : tile_size;
    const int64_t width = n - c0 < tile_size ? n - c0 : tile_size;
    float square[tile_size][tile_size];
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t c = 0; c < width; ++c) square[c][r] = x[(r0 + r) * ldx + c0 + c];
    }
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < height; ++r) y[(c0 + c) * ldy + r0 + r] = square[c][r];
    }
  }
}

}  // namespace

void fill_activation(OperationTable& table) {
  table.swiglu = swiglu;
  table.swiglu_backward = swiglu_backward;
  table.add = add;
  table.fill = fill;
  table.copy = copy;
  table.transpose = transpose;
}

}  // namespace galleon::cpu::GALLEON_ISA
