// Matrix products. On x86 all are oneDNN's, which chooses its kernels by the processor's features: fp32, and bf16 where
// it has that for this machine; elsewhere bf16 is computed in fp32 tiles. For other architectures oneDNN 2.6 has no
// bf16 product, and its fp32 one was never measured: there OpenBLAS's serve.
//
// oneDNN's generated kernels use the stack pointer as one more register. A signal handler that interrupts a thread in one
// writes its frame over whatever that points to: block signals in threads that compute (worker/trainer/stop_signals.h).
#include <cblas.h>
#include <dnnl.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include "common/base/check.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/loops/loops.h"
#include "kernels/cpu/low_precision.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu {

namespace {

// How many pieces a product is cut into along its longer side, one for each thread that is worth it. oneDNN would cut
// it itself, but along the inner dimension too, and then a sum depends on the number of threads.
constexpr int64_t kPieceMultiple = 16;  // columns or rows of a piece, so that kernels meet whole vectors

int64_t pieces_of(int threads, int64_t m, int64_t n, int64_t k) {
  if (threads <= 1 || !worth_threads(m * n * k, 20)) return 1;
  return std::clamp<int64_t>(std::max(m, n) / (4 * kPieceMultiple), 1, threads);
}

int64_t matmul_workspace(bool, bool, int64_t, int64_t, int64_t) {
  return 0;
}

// Tiles of a product that is computed in fp32 although its operands are bf16.
constexpr int64_t kTile = 512;

int64_t tile_of(int64_t size) {
  return std::min(size, kTile);
}

// Reserved on every machine, so that a plan holds wherever the job lands.
int64_t tiles_workspace(bool, bool, int64_t m, int64_t n, int64_t k) {
  return (tile_of(m) * tile_of(k) + tile_of(k) * tile_of(n) + tile_of(m) * tile_of(n)) * 4;
}

// The tile of op(x) at (row, column) as rows×columns numbers of x's own layout.
void read_tile(const Execution& on, bool transposed, Matrix<const BFloat16> x, int64_t row, int64_t column,
               int64_t rows, int64_t columns, float* tile) {
  const int64_t height = transposed ? columns : rows;
  const int64_t width = transposed ? rows : columns;
  x.data = transposed ? x.row(column) + row : x.row(row) + column;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(height * width, 100))
  for (int64_t r = 0; r < height; ++r) {
    for (int64_t c = 0; c < width; ++c) tile[r * width + c] = math::to_float(x.row(r)[c]);
  }
}

// Its tile of c at (row, column) from `tile`, the sum of the products.
template <typename C>
void store_tile(const Execution& on, const float* tile, int64_t row, int64_t column, int64_t rows, int64_t columns,
                const Product<BFloat16, C>& p) {
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * columns, 100))
  for (int64_t r = 0; r < rows; ++r) {
    C* out = p.c.row(row + r) + column;
    for (int64_t s = 0; s < columns; ++s) {
      const float before = p.beta == 0.0F ? 0.0F : p.beta * math::load(out[s]);
      math::store(out[s], p.alpha * tile[r * columns + s] + before);
    }
  }
}

template <typename C>
void matmul_in_tiles(const Execution& on, const Product<BFloat16, C>& p, void* scratch) {
  float* tile_a = static_cast<float*>(scratch);
  float* tile_b = tile_a + tile_of(p.m) * tile_of(p.k);
  float* tile_c = tile_b + tile_of(p.k) * tile_of(p.n);
  for (int64_t i = 0; i < p.m; i += kTile) {
    const int64_t rows = std::min(kTile, p.m - i);
    for (int64_t j = 0; j < p.n; j += kTile) {
      const int64_t columns = std::min(kTile, p.n - j);
      std::fill_n(tile_c, rows * columns, 0.0F);
      for (int64_t l = 0; l < p.k; l += kTile) {
        const int64_t depth = std::min(kTile, p.k - l);
        read_tile(on, p.transpose_a, p.a, i, l, rows, depth, tile_a);
        read_tile(on, p.transpose_b, p.b, l, j, depth, columns, tile_b);
        cpu::matmul(on,
                    {p.transpose_a,
                     p.transpose_b,
                     rows,
                     columns,
                     depth,
                     1.0F,
                     {tile_a, p.transpose_a ? rows : depth},
                     {tile_b, p.transpose_b ? depth : columns},
                     1.0F,
                     {tile_c, columns}},
                    nullptr);
      }
      store_tile(on, tile_c, i, j, rows, columns, p);
    }
  }
}

template <typename C>
void matmul_generated(const Execution& on, const Product<BFloat16, C>& p, void* scratch) {
  const int threads = worth_threads(p.m * p.n * p.k, 10) ? on.threads : 1;
  use_openmp_threads(threads);
  const ProductShape shape{p.transpose_a, p.transpose_b, std::is_same_v<C, float>,
                           p.m,           p.n,           p.k,
                           p.a.stride,    p.b.stride,    p.c.stride,
                           p.alpha,       p.beta,        threads};
  if (p.k > 0 && on.products->multiply(shape, p.a.data, p.b.data, p.c.data)) return;
  matmul_in_tiles(on, p, scratch);
}

void multiply(const Product<float, float>& p) {
  product(p.transpose_a, p.transpose_b, p.m, p.n, p.k, p.alpha, p.a.data, p.a.stride, p.b.data, p.b.stride, p.beta,
          p.c.data, p.c.stride);
}

// Rows (or columns) `begin` to `begin + count` of the result.
Product<float, float> rows_of(Product<float, float> p, int64_t begin, int64_t count) {
  p.a.data += begin * (p.transpose_a ? 1 : p.a.stride);
  p.c.data += begin * p.c.stride;
  p.m = count;
  return p;
}
Product<float, float> columns_of(Product<float, float> p, int64_t begin, int64_t count) {
  p.b.data += begin * (p.transpose_b ? p.b.stride : 1);
  p.c.data += begin;
  p.n = count;
  return p;
}

}  // namespace

// With a beta of 0 what C holds is not read.
void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
             int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == 0.0F ? 0.0F : beta * c[i * ldc + j];
    }
    return;
  }
#ifdef __x86_64__
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  GALLEON_CHECK(status == dnnl_success) << "oneDNN: product of " << m << "x" << k << " and " << k << "x" << n << ": "
                                        << static_cast<int>(status);
#else
  const auto size = [](int64_t number) {
    GALLEON_CHECK(number <= std::numeric_limits<blasint>::max()) << number << " is too large for the BLAS";
    return static_cast<blasint>(number);
  };
  cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, size(m),
              size(n), size(k), alpha, a, size(lda), b, size(ldb), beta, c, size(ldc));
#endif
}

void matmul(const Execution& on, const Product<float, float>& p, void*) {
  const int64_t pieces = pieces_of(on.threads, p.m, p.n, p.k);
  use_openmp_threads(1);
  if (pieces <= 1) {
    multiply(p);
    return;
  }
  const bool by_rows = p.m >= p.n;
  const int64_t length = by_rows ? p.m : p.n;
  const int64_t step = round_up(ceil_div(length, pieces), kPieceMultiple);
#pragma omp parallel for num_threads(on.threads) schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = piece * step;
    const int64_t count = std::min(step, length - begin);
    if (count <= 0) continue;
    multiply(by_rows ? rows_of(p, begin, count) : columns_of(p, begin, count));
  }
}

void fill_gemm_operations(OperationTable& table, bool generated) {
  table.f32.matmul = matmul;
  table.f32.matmul_to_fp32 = matmul;
  table.f32.matmul_workspace = matmul_workspace;
  table.bf16.matmul = generated ? matmul_generated<BFloat16> : matmul_in_tiles<BFloat16>;
  table.bf16.matmul_to_fp32 = generated ? matmul_generated<float> : matmul_in_tiles<float>;
  table.bf16.matmul_workspace = tiles_workspace;
}

}  // namespace galleon::cpu
