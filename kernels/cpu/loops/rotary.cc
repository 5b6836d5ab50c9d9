// Rotary positions: the table of cosines and sines, and the rotation.
#include "kernels/math/rotary.h"

#include "kernels/cpu/loops/loops.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

// table (sequence, D)
void rotary_table(const Execution& on, int64_t sequence, int64_t dimension, const double* frequencies, double factor,
                  Matrix<float> table) {
  const int64_t half = dimension / 2;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (sequence * half > 1024)
  for (int64_t position = 0; position < sequence; ++position) {
    float* cosine = table.row(position);
    float* sine = cosine + half;
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies[i];
      cosine[i] = static_cast<float>(factor * __builtin_cos(angle));
      sine[i] = static_cast<float>(factor * __builtin_sin(angle));
    }
  }
}

// x (tokens, H·D), table (positions, D)
template <typename T>
void rotary(const Execution& on, const Rotary<T>& args) {
  const int64_t half = args.dimension / 2;
  const float sign = args.backward ? -1.0F : 1.0F;
  const bool parallel = worth_threads(args.tokens * args.heads * args.dimension, 150);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (parallel)
  for (int64_t t = 0; t < args.tokens; ++t) {
    const float* cosine = args.table.row(t % args.sequence);
    const float* sine = cosine + half;
    for (int64_t h = 0; h < args.heads; ++h) {
      T* first = args.x.row(t) + h * args.dimension;
      T* second = first + half;
#pragma omp simd
      for (int64_t i = 0; i < half; ++i) {
        float a = math::load(first[i]);
        float b = math::load(second[i]);
        math::rotate(a, b, cosine[i], sign * sine[i]);
        math::store(first[i], a);
        math::store(second[i], b);
      }
    }
  }
}

}  // namespace

void fill_rotary(OperationTable& table) {
  table.f32.rotary = rotary<float>;
  table.bf16.rotary = rotary<BFloat16>;
  table.rotary_table = rotary_table;
}

}  // namespace galleon::cpu::GALLEON_ISA
