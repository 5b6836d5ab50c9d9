// Dropout by element index.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"
#include "kernels/math/random.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kCounters = 64;                 // computed together, four words each
constexpr int64_t kGroup = 4 * kCounters;         // words of a group
constexpr int64_t kPiece = int64_t{32} * kGroup;  // elements that one thread takes at a time

// The words of group g in their order.
void random_words(uint64_t seed, uint64_t stream, int64_t group, uint32_t (&words)[kGroup]) {
  uint32_t lanes[4][kCounters];
#pragma omp simd
  for (int64_t c = 0; c < kCounters; ++c) {
    const math::Philox p = math::philox(seed, static_cast<uint64_t>(group * kCounters + c), stream);
    lanes[0][c] = p.word[0];
    lanes[1][c] = p.word[1];
    lanes[2][c] = p.word[2];
    lanes[3][c] = p.word[3];
  }
  for (int64_t c = 0; c < kCounters; ++c) {
    for (int64_t l = 0; l < 4; ++l) words[4 * c + l] = lanes[l][c];
  }
}

template <typename T>
void dropout(const Execution& on, const Dropout<T>& args) {
  const int64_t rows = args.rows;
  const int64_t n = args.n;
  const DropoutWords of = args.words;
  const int64_t per_row = ceil_div(n, kPiece);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 1500))
  for (int64_t piece = 0; piece < rows * per_row; ++piece) {
    const int64_t row = piece / per_row;
    // Numbers of the elements in their tensor, and `origin` of the row's first.
    const int64_t origin = of.first + (args.row_numbers == nullptr ? row : args.row_numbers[row]) * n;
    const int64_t begin = origin + piece % per_row * kPiece;
    const int64_t end = begin + kPiece < origin + n ? begin + kPiece : origin + n;
    const T* a = args.x.row(row) - origin;
    T* b = args.y.row(row) - origin;
    for (int64_t group = begin / kGroup; group * kGroup < end; ++group) {
      alignas(64) uint32_t words[kGroup];
      random_words(of.seed, of.stream, group, words);
      const int64_t start = group * kGroup;
      const int64_t from = start > begin ? start : begin;
      const int64_t to = start + kGroup < end ? start + kGroup : end;
#pragma omp simd
      for (int64_t i = from; i < to; ++i)
        math::store(b[i], words[i - start] < of.threshold ? 0.0F : math::load(a[i]) * of.scale);
    }
  }
}

}  // namespace

void fill_dropout(OperationTable& table) {
  table.f32.dropout = dropout<float>;
  table.bf16.dropout = dropout<BFloat16>;
}

}  // namespace galleon::cpu::GALLEON_ISA
