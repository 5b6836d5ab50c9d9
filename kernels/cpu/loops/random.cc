// Normal numbers by element index. Compiled without fused products, so that every instruction set gives the same bits.
#include "kernels/math/random.h"
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

constexpr int64_t kCounters = 64;  // counters computed together, four numbers each

// The numbers 4·counter … 4·(counter + kCounters) − 1, lane by lane: number 4·c + l is at out[l][c].
void normals(uint64_t seed, uint64_t stream, uint64_t counter, float (&out)[4][kCounters]) {
  uint32_t words[4][kCounters];
#pragma omp simd
  for (int64_t c = 0; c < kCounters; ++c) {
    const math::Philox p = math::philox(seed, counter + static_cast<uint64_t>(c), stream);
    words[0][c] = p.word[0];
    words[1][c] = p.word[1];
    words[2][c] = p.word[2];
    words[3][c] = p.word[3];
  }
  for (int pair = 0; pair < 4; pair += 2) {
#pragma omp simd
    for (int64_t c = 0; c < kCounters; ++c) {
      float a;
      float b;
      math::box_muller(words[pair][c], words[pair + 1][c], a, b);
      out[pair][c] = a;
      out[pair + 1][c] = b;
    }
  }
}

void fill_normal(const Execution& on, int64_t size, const NormalNumbers& numbers, float* x) {
  const int64_t first = numbers.first;
  const float mean = numbers.mean;
  const float deviation = numbers.deviation;
  const int64_t step = 4 * kCounters;
  const int64_t first_group = first / step;
  const int64_t last_group = ceil_div(first + size, step);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 2400))
  for (int64_t group = first_group; group < last_group; ++group) {
    float normal[4][kCounters];
    normals(numbers.seed, numbers.stream, static_cast<uint64_t>(group * kCounters), normal);
    const int64_t start = group * step;
    const int64_t begin = start > first ? start : first;
    const int64_t end = start + step < first + size ? start + step : first + size;
    for (int64_t i = begin; i < end; ++i) x[i - first] = mean + deviation * normal[i % 4][(i - start) / 4];
  }
}

}  // namespace

void fill_random(OperationTable& table) {
  table.fill_normal = fill_normal;
}

}  // namespace galleon::cpu::GALLEON_ISA
