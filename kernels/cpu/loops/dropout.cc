// Dropout by element index.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/random.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kCounters = 64;                 // computed together, four words each
constexpr int64_t kGroup = 4 * kCounters;         // words of a group
constexpr int64_t kPiece = int64_t{32} * kGroup;  // elements that one thread takes at a time

// Words of group g: number 4·c + l of them at words[l][c].
void random_words(uint64_t seed, uint64_t stream, int64_t group, uint32_t (&words)[4][kCounters]) {
#pragma omp simd
  for (int64_t c = 0; c < kCounters; ++c) {
    const math::Philox p = math::philox(seed, static_cast<uint64_t>(group * kCounters + c), stream);
    words[0][c] = p.word[0];
    words[1][c] = p.word[1];
    words[2][c] = p.word[2];
    words[3][c] = p.word[3];
  }
}

template <typename T>
void dropout(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, uint64_t seed, uint64_t stream,
             int64_t first, uint32_t threshold, float scale, T* y, int64_t ldy) {
  const int64_t per_row = (n + kPiece - 1) / kPiece;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(rows * n, 1500))
  for (int64_t piece = 0; piece < rows * per_row; ++piece) {
    const int64_t row = piece / per_row;
    // Numbers of the elements in their tensor, and `origin` of the row's first.
    const int64_t origin = first + row * n;
    const int64_t begin = origin + piece % per_row * kPiece;
    const int64_t end = begin + kPiece < origin + n ? begin + kPiece : origin + n;
    const T* a = x + row * ldx - origin;
    T* b = y + row * ldy - origin;
    for (int64_t group = begin / kGroup; group * kGroup < end; ++group) {
      uint32_t words[4][kCounters];
      random_words(seed, stream, group, words);
      const int64_t start = group * kGroup;
      const int64_t from = start > begin ? start : begin;
      const int64_t to = start + kGroup < end ? start + kGroup : end;
      for (int64_t i = from; i < to; ++i) {
        const bool dropped = words[i % 4][(i - start) / 4] < threshold;
        math::store(b[i], dropped ? 0.0F : math::load(a[i]) * scale);
      }
    }
  }
}

}  // namespace

void fill_dropout(OperationTable& table) {
  table.f32.dropout = dropout<float>;
  table.bf16.dropout = dropout<BFloat16>;
}

}  // namespace galleon::cpu::GALLEON_ISA
