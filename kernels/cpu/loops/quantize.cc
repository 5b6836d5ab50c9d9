// Blocks of codes. Compiled without fused products: the codes of a basis are the same on every machine.
#include "kernels/cpu/loops/loops.h"
#include "kernels/math/absmax.h"
#include "kernels/math/dynamic8.h"
#include "kernels/math/multiples.h"

namespace galleon::cpu::GALLEON_ISA {
namespace {

GALLEON_FORMULA float largest_magnitude(const float* x, int64_t count) {
  float largest = 0.0F;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

void encode_moment(const Execution& on, bool is_signed, int64_t size, int64_t block, const float* x,
                   const CodedNumbers& coded) {
  uint8_t* codes = coded.codes;
  float* scales = coded.scales;
  const int64_t blocks = ceil_div(size, block);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 600))
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * block;
    const int64_t count = size - begin < block ? size - begin : block;
    const float* from = x + begin;
    uint8_t* to = codes + begin;
    const float largest = largest_magnitude(from, count);
    scales[b] = largest;
    const float unit = largest > 0.0F ? largest : 1.0F;
    if (is_signed) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(math::dynamic8_signed(from[i] / unit));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<uint8_t>(math::dynamic8_unsigned(from[i] / unit));
    }
  }
}

void decode_moment(const Execution& on, bool is_signed, int64_t size, int64_t block, const CodedNumbers& coded,
                   float* x) {
  const uint8_t* codes = coded.codes;
  const float* scales = coded.scales;
  const int64_t blocks = ceil_div(size, block);
  const float* value = is_signed ? math::kDynamic8<true>.value : math::kDynamic8<false>.value;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 300))
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * block;
    const int64_t count = size - begin < block ? size - begin : block;
    const float scale = scales[b];
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) x[begin + i] = value[codes[begin + i]] * scale;
  }
}

void encode_basis(const Execution& on, int bits, int64_t size, int64_t block, const float* x,
                  const CodedNumbers& coded) {
  uint8_t* codes = coded.codes;
  float* scales = coded.scales;
  const int64_t blocks = ceil_div(size, block);
  const int most = bits == 8 ? 127 : 7;
  const float n = static_cast<float>(most);
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 300))
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * block;
    const int64_t count = size - begin < block ? size - begin : block;
    const float* from = x + begin;
    const float largest = largest_magnitude(from, count);
    scales[b] = largest;
    // A block of zeros, or of numbers too small to divide by, becomes zeros.
    const float per_unit = largest > 1e-30F ? n / largest : 0.0F;
    if (bits == 8) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i)
        codes[begin + i] = static_cast<uint8_t>(math::absmax_code(from[i], per_unit, n));
      continue;
    }
    uint8_t* to = codes + begin / 2;
#pragma omp simd
    for (int64_t i = 0; i < count / 2; ++i) {
      const int low = math::absmax_code(from[2 * i], per_unit, n);
      const int high = math::absmax_code(from[2 * i + 1], per_unit, n);
      to[i] = static_cast<uint8_t>(low | (high << 4));
    }
    if (count % 2 == 1)
      to[count / 2] = static_cast<uint8_t>(math::absmax_code(from[count - 1], per_unit, n) | (7 << 4));
  }
}

void decode_basis(const Execution& on, int bits, int64_t size, int64_t block, const CodedNumbers& coded, float* x) {
  const uint8_t* codes = coded.codes;
  const float* scales = coded.scales;
  const int64_t blocks = ceil_div(size, block);
  const int most = bits == 8 ? 127 : 7;
#pragma omp parallel for num_threads(on.threads) schedule(static) if (worth_threads(size, 150))
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * block;
    const int64_t count = size - begin < block ? size - begin : block;
    const float unit = scales[b] / static_cast<float>(most);
    float* to = x + begin;
    if (bits == 8) {
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) to[i] = math::absmax_value(codes[begin + i], unit, most);
      continue;
    }
    const uint8_t* from = codes + begin / 2;
#pragma omp simd
    for (int64_t i = 0; i < count / 2; ++i) {
      to[2 * i] = math::absmax_value(from[i] & 15, unit, most);
      to[2 * i + 1] = math::absmax_value(from[i] >> 4, unit, most);
    }
    if (count % 2 == 1) to[count - 1] = math::absmax_value(from[count / 2] & 15, unit, most);
  }
}

}  // namespace

void fill_quantize(OperationTable& table) {
  table.encode_moment = encode_moment;
  table.decode_moment = decode_moment;
  table.encode_basis = encode_basis;
  table.decode_basis = decode_basis;
}

}  // namespace galleon::cpu::GALLEON_ISA
