// Companded codes of moments: four threads to a group of 32, which keep its numbers in registers. Compiled without
// fused products: codes are the same on every machine.
#include "kernels/cuda/kernels/code_blocks.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/adam.h"
#include "kernels/math/companded8.h"

namespace galleon::cuda {
namespace {

constexpr int64_t kGroup = math::kCompandedGroup;
// No team is larger than a warp, so that none meets another in shared memory.
static_assert(kGroup <= int64_t{kWarp} * kBlockPiece * kBlockPieces);

// A group's numbers as a thread has them.
using Numbers = Piece<float, kBlockPiece>[kBlockPieces];

template <bool kFirst>
__device__ __forceinline__ void decode_group(const CodeBlock& own, bool wide, const uint8_t* codes,
                                             const uint16_t* scales, Numbers& x) {
  const float scale = own.count > 0 ? math::scale16_value(scales[own.index]) : 0.0F;
#pragma unroll
  for (int k = 0; k < kBlockPieces; ++k) {
    const int64_t left = own.count - piece_begin(k);
    if (left <= 0) continue;
    const uint32_t packed = load_codes(codes + own.begin + piece_begin(k), left, wide);
#pragma unroll
    for (int i = 0; i < kBlockPiece; ++i) {
      const int code = static_cast<int>(packed >> (8 * i) & 255U);
      x[k].value[i] = kFirst ? math::softsign_value(code, scale) : math::root_value(code, scale);
    }
  }
}

// Of second moments, roots take the place of x. limits: of the magnitudes of first moments as they are coded, or null.
// All threads of a block call it.
template <bool kFirst>
__device__ __forceinline__ void encode_group(const CodeBlock& own, bool wide, Numbers& x, const Numbers* limits,
                                             uint8_t* codes, uint16_t* scales) {
  float largest = 0.0F;
#pragma unroll
  for (int k = 0; k < kBlockPieces; ++k) {
#pragma unroll
    for (int i = 0; i < kBlockPiece; ++i) {
      if (i >= own.count - piece_begin(k)) continue;
      float& number = x[k].value[i];
      if (!kFirst) number = __builtin_sqrtf(number);
      const float magnitude = __builtin_fabsf(number);
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  const uint16_t scale = math::scale16(team_largest(largest, nullptr));
  if (own.count == 0) return;
  if (threadIdx.x == 0) scales[own.index] = scale;
  const float unit = math::scale16_value(scale);
  const float per_scale = math::per_scale(unit);
#pragma unroll
  for (int k = 0; k < kBlockPieces; ++k) {
    const int64_t left = own.count - piece_begin(k);
    if (left <= 0) continue;
    uint32_t packed = 0;
#pragma unroll
    for (int i = 0; i < kBlockPiece; ++i) {
      const float number = x[k].value[i];
      int code = kFirst ? math::softsign_code(number, per_scale) : math::root_code(number, per_scale);
      if (kFirst && limits != nullptr) code = math::softsign_code_within(code, unit, (*limits)[k].value[i]);
      packed |= static_cast<uint32_t>(code) << (8 * i);
    }
    store_codes(codes + own.begin + piece_begin(k), left, wide, packed);
  }
}

__global__ void __launch_bounds__(kCodeThreads)
    companded_adam_kernel(int64_t size, bool wide, AdamRule rule, float* __restrict__ r, uint8_t* __restrict__ m_codes,
                          uint16_t* __restrict__ m_scales, uint8_t* __restrict__ v_codes,
                          uint16_t* __restrict__ v_scales) {
  const int64_t rounds = code_rounds(size, kGroup);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, kGroup);
    Numbers moment{};
    Numbers square{};
    decode_group<true>(own, wide, m_codes, m_scales, moment);
    decode_group<false>(own, wide, v_codes, v_scales, square);
    Numbers limits{};
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left <= 0) continue;
      const int64_t at = own.begin + piece_begin(k);
      auto update = load_numbers(r + at, left, wide);
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) {
        const float gradient = update.value[i] * rule.gradient_scale;
        const float before = moment[k].value[i];
        update.value[i] =
            math::adam(gradient, rule.beta1, rule.beta2, rule.epsilon, moment[k].value[i], square[k].value[i]);
        limits[k].value[i] = math::shrinking_limit(gradient, before, moment[k].value[i]);
      }
      store_numbers(r + at, left, wide, update);
    }
    encode_group<true>(own, wide, moment, &limits, m_codes, m_scales);
    encode_group<false>(own, wide, square, nullptr, v_codes, v_scales);
  }
}

void companded_adam_update(const Execution& on, int64_t size, const AdamRule& rule, float* r, const CompandedNumbers& m,
                           const CompandedNumbers& v) {
  const CodeTeams teams = code_teams(size, kGroup);
  const bool wide = blocks_aligned(kGroup, r) && codes_aligned(m.codes) && codes_aligned(v.codes);
  launch<companded_adam_kernel>(on, teams.grid_size(), teams.block_size(), 0, size, wide, rule, r, m.codes, m.scales,
                                v.codes, v.scales);
}

template <bool kFirst>
__global__ void __launch_bounds__(kCodeThreads)
    encode_companded_kernel(int64_t size, bool wide, const float* __restrict__ x, uint8_t* __restrict__ codes,
                            uint16_t* __restrict__ scales) {
  const int64_t rounds = code_rounds(size, kGroup);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, kGroup);
    Numbers numbers{};
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left > 0) numbers[k] = load_numbers(x + own.begin + piece_begin(k), left, wide);
    }
    encode_group<kFirst>(own, wide, numbers, nullptr, codes, scales);
  }
}

void encode_companded(const Execution& on, bool is_first, int64_t size, const float* x, const CompandedNumbers& to) {
  const CodeTeams teams = code_teams(size, kGroup);
  const bool wide = blocks_aligned(kGroup, x) && codes_aligned(to.codes);
  if (is_first) {
    launch<encode_companded_kernel<true>>(on, teams.grid_size(), teams.block_size(), 0, size, wide, x, to.codes,
                                          to.scales);
  } else {
    launch<encode_companded_kernel<false>>(on, teams.grid_size(), teams.block_size(), 0, size, wide, x, to.codes,
                                           to.scales);
  }
}

template <bool kFirst>
__global__ void __launch_bounds__(kCodeThreads)
    decode_companded_kernel(int64_t size, bool wide, const uint8_t* __restrict__ codes,
                            const uint16_t* __restrict__ scales, float* __restrict__ x) {
  const int64_t rounds = code_rounds(size, kGroup);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, kGroup);
    Numbers numbers{};
    decode_group<kFirst>(own, wide, codes, scales, numbers);
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left > 0) store_numbers(x + own.begin + piece_begin(k), left, wide, numbers[k]);
    }
  }
}

void decode_companded(const Execution& on, bool is_first, int64_t size, const CompandedNumbers& from, float* x) {
  const CodeTeams teams = code_teams(size, kGroup);
  const bool wide = blocks_aligned(kGroup, x) && codes_aligned(from.codes);
  if (is_first) {
    launch<decode_companded_kernel<true>>(on, teams.grid_size(), teams.block_size(), 0, size, wide, from.codes,
                                          from.scales, x);
  } else {
    launch<decode_companded_kernel<false>>(on, teams.grid_size(), teams.block_size(), 0, size, wide, from.codes,
                                           from.scales, x);
  }
}

}  // namespace

void fill_companded(OperationTable& table) {
  table.companded_adam_update = companded_adam_update;
  table.encode_companded = encode_companded;
  table.decode_companded = decode_companded;
}

}  // namespace galleon::cuda
