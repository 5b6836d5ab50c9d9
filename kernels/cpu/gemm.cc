// Matrix products, all of oneDNN, which chooses its kernels by the processor's features: fp32, and bf16 where it has
// that for this machine; elsewhere bf16 is computed in fp32 tiles.
#include <dnnl.h>

#include <algorithm>
#include <type_traits>

#include "common/base/check.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/loops/loops.h"
#include "kernels/cpu/low_precision.h"

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
void read_tile(const Execution& on, bool transposed, const BFloat16* x, int64_t ldx, int64_t row, int64_t column,
               int64_t rows, int64_t columns, float* tile) {
  const int64_t height = transposed ? columns : rows;
  const int64_t width = transposed ? rows : columns;
  const BFloat16* from = x + (transposed ? column * ldx + row : row * ldx + column);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(height * width, 100))
  for (int64_t r = 0; r < height; ++r) {
    for (int64_t c = 0; c < width; ++c) tile[r * width + c] = math::to_float(from[r * ldx + c]);
  }
}

template <typename C>
void matmul_in_tiles(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                     float alpha, const BFloat16* a, int64_t lda, const BFloat16* b, int64_t ldb, float beta, C* c,
                     int64_t ldc, void* scratch) {
  float* tile_a = static_cast<float*>(scratch);
  float* tile_b = tile_a + tile_of(m) * tile_of(k);
  float* tile_c = tile_b + tile_of(k) * tile_of(n);
  for (int64_t i = 0; i < m; i += kTile) {
    const int64_t rows = std::min(kTile, m - i);
    for (int64_t j = 0; j < n; j += kTile) {
      const int64_t columns = std::min(kTile, n - j);
      std::fill_n(tile_c, rows * columns, 0.0F);
      for (int64_t l = 0; l < k; l += kTile) {
        const int64_t depth = std::min(kTile, k - l);
        read_tile(on, transpose_a, a, lda, i, l, rows, depth, tile_a);
        read_tile(on, transpose_b, b, ldb, l, j, depth, columns, tile_b);
        cpu::matmul(on, transpose_a, transpose_b, rows, columns, depth, 1.0F, tile_a, transpose_a ? rows : depth,
                    tile_b, transpose_b ? depth : columns, 1.0F, tile_c, columns, nullptr);
      }
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * columns, 100))
      for (int64_t r = 0; r < rows; ++r) {
        C* out = c + (i + r) * ldc + j;
        for (int64_t s = 0; s < columns; ++s) {
          const float before = beta == 0.0F ? 0.0F : beta * math::load(out[s]);
          math::store(out[s], alpha * tile_c[r * columns + s] + before);
        }
      }
    }
  }
}

template <typename C>
void matmul_generated(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                      float alpha, const BFloat16* a, int64_t lda, const BFloat16* b, int64_t ldb, float beta, C* c,
                      int64_t ldc, void* scratch) {
  const int threads = worth_threads(m * n * k, 10) ? on.threads : 1;
  use_openmp_threads(threads);
  const ProductShape shape{transpose_a, transpose_b, std::is_same_v<C, float>, m, n, k, lda, ldb, ldc, alpha,
                           beta,        threads};
  if (k > 0 && on.products->multiply(shape, a, b, c)) return;
  matmul_in_tiles(on, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, scratch);
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
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  GALLEON_CHECK(status == dnnl_success) << "oneDNN: product of " << m << "x" << k << " and " << k << "x" << n << ": "
                                        << static_cast<int>(status);
}

void matmul(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc, void*) {
  const int64_t pieces = pieces_of(on.threads, m, n, k);
  use_openmp_threads(1);
  if (pieces <= 1) {
    product(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  const bool by_rows = m >= n;
  const int64_t length = by_rows ? m : n;
  const int64_t step = (length + pieces * kPieceMultiple - 1) / (pieces * kPieceMultiple) * kPieceMultiple;
#pragma omp parallel for num_threads(on.threads) schedule(static)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t begin = piece * step;
    const int64_t count = std::min(step, length - begin);
    if (count <= 0) continue;
    if (by_rows) {
      product(transpose_a, transpose_b, count, n, k, alpha, a + begin * (transpose_a ? 1 : lda), lda, b, ldb, beta,
              c + begin * ldc, ldc);
    } else {
      product(transpose_a, transpose_b, m, count, k, alpha, a, lda, b + begin * (transpose_b ? ldb : 1), ldb, beta,
              c + begin, ldc);
    }
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
