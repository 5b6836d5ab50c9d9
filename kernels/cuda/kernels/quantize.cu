// Blocks of codes. Compiled without fused products: the codes of a basis are the same on every machine.
#include "kernels/cuda/kernels/code_blocks.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/absmax.h"

namespace galleon::cuda {
namespace {

// The block's numbers into registers, and the largest magnitude of them.
__device__ __forceinline__ float load_block(const CodeBlock& own, const float* __restrict__ x, bool wide,
                                            Piece<float, kBlockPiece> (&numbers)[kBlockPieces], float* shared) {
  float largest = 0.0F;
#pragma unroll
  for (int k = 0; k < kBlockPieces; ++k) {
    const int64_t left = own.count - piece_begin(k);
    if (left <= 0) continue;
    numbers[k] = load_numbers(x + own.begin + piece_begin(k), left, wide);
#pragma unroll
    for (int i = 0; i < kBlockPiece; ++i) {
      const float magnitude = __builtin_fabsf(numbers[k].value[i]);
      largest = magnitude > largest ? magnitude : largest;
    }
  }
  return team_largest(largest, shared);
}

// Blocks of any length: their numbers are read again to be coded.
template <bool kSigned>
__global__ void __launch_bounds__(kMostCodeTeam)
    encode_moment_kernel(int64_t size, int64_t block, bool wide, const float* __restrict__ x,
                         uint8_t* __restrict__ codes, float* __restrict__ scales) {
  __shared__ float shared[kMostCodeTeam / kWarp];
  const int64_t rounds = code_rounds(size, block);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, block);
    float largest = 0.0F;
    for (int64_t at = piece_begin(0); at < own.count; at += piece_step()) {
      const auto numbers = load_numbers(x + own.begin + at, own.count - at, wide);
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) {
        const float magnitude = __builtin_fabsf(numbers.value[i]);
        largest = magnitude > largest ? magnitude : largest;
      }
    }
    largest = team_largest(largest, shared);
    if (own.count == 0) continue;
    if (threadIdx.x == 0) scales[own.index] = largest;
    const float unit = largest > 0.0F ? largest : 1.0F;
    for (int64_t at = piece_begin(0); at < own.count; at += piece_step()) {
      const auto numbers = load_numbers(x + own.begin + at, own.count - at, wide);
      uint32_t packed = 0;
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) {
        const float share = numbers.value[i] / unit;
        const int code = kSigned ? math::dynamic8_signed(share) : math::dynamic8_unsigned(share);
        packed |= static_cast<uint32_t>(code) << (8 * i);
      }
      store_codes(codes + own.begin + at, own.count - at, wide, packed);
    }
  }
}

void encode_moment(const Execution& on, bool is_signed, int64_t size, int64_t block, const float* x,
                   const CodedNumbers& to) {
  const CodeTeams teams = code_teams(size, block);
  const bool wide = blocks_aligned(block, x) && codes_aligned(to.codes);
  if (is_signed) {
    launch<encode_moment_kernel<true>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, x, to.codes,
                                       to.scales);
  } else {
    launch<encode_moment_kernel<false>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, x, to.codes,
                                        to.scales);
  }
}

template <bool kSigned>
__global__ void __launch_bounds__(kMostCodeTeam)
    decode_moment_kernel(int64_t size, int64_t block, bool wide, const uint8_t* __restrict__ codes,
                         const float* __restrict__ scales, float* __restrict__ x) {
  __shared__ float values[256];
  load_dynamic8<kSigned>(values);
  __syncthreads();
  const int64_t rounds = code_rounds(size, block);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, block);
    if (own.count == 0) continue;
    const float scale = scales[own.index];
    for (int64_t at = piece_begin(0); at < own.count; at += piece_step()) {
      const uint32_t packed = load_codes(codes + own.begin + at, own.count - at, wide);
      Piece<float, kBlockPiece> numbers;
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i) numbers.value[i] = values[packed >> (8 * i) & 255U] * scale;
      store_numbers(x + own.begin + at, own.count - at, wide, numbers);
    }
  }
}

void decode_moment(const Execution& on, bool is_signed, int64_t size, int64_t block, const CodedNumbers& from,
                   float* x) {
  const CodeTeams teams = code_teams(size, block);
  const bool wide = blocks_aligned(block, x) && codes_aligned(from.codes);
  if (is_signed) {
    launch<decode_moment_kernel<true>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, from.codes,
                                       from.scales, x);
  } else {
    launch<decode_moment_kernel<false>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, from.codes,
                                        from.scales, x);
  }
}

GALLEON_FORMULA constexpr int most_of(int bits) {
  return bits == 8 ? 127 : 7;
}

// Of a piece in 4 bits: two bytes, the first number of each in its lower half. A piece's last byte may hold one number
// alone, with a 0 (code 7) above it.
__device__ __forceinline__ void store_halves(uint8_t* at, int64_t left, uint32_t codes) {
  at[0] = static_cast<uint8_t>((codes & 15U) | (codes >> 4 & 0xf0U));
  if (left > 2) at[1] = static_cast<uint8_t>((codes >> 16 & 15U) | (codes >> 20 & 0xf0U));
}
__device__ __forceinline__ uint32_t load_halves(const uint8_t* at, int64_t left) {
  const uint32_t low = at[0];
  const uint32_t high = left > 2 ? at[1] : 0U;
  return (low & 15U) | (low >> 4) << 8 | (high & 15U) << 16 | (high >> 4) << 24;
}

template <int kBits>
__global__ void __launch_bounds__(kMostCodeTeam)
    encode_basis_kernel(int64_t size, int64_t block, bool wide, const float* __restrict__ x,
                        uint8_t* __restrict__ codes, float* __restrict__ scales) {
  constexpr float n = static_cast<float>(most_of(kBits));
  __shared__ float shared[kMostCodeTeam / kWarp];
  const int64_t rounds = code_rounds(size, block);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, block);
    Piece<float, kBlockPiece> numbers[kBlockPieces];
    const float largest = load_block(own, x, wide, numbers, shared);
    if (own.count == 0) continue;
    if (threadIdx.x == 0) scales[own.index] = largest;
    // A block of zeros, or of numbers too small to divide by, becomes zeros.
    const float per_unit = largest > 1e-30F ? n / largest : 0.0F;
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left <= 0) continue;
      uint32_t packed = 0;
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i)
        packed |= static_cast<uint32_t>(math::absmax_code(numbers[k].value[i], per_unit, n)) << (8 * i);
      const int64_t at = own.begin + piece_begin(k);
      if constexpr (kBits == 8) {
        store_codes(codes + at, left, wide, packed);
      } else {
        store_halves(codes + at / 2, left, packed);
      }
    }
  }
}

void encode_basis(const Execution& on, int bits, int64_t size, int64_t block, const float* x, const CodedNumbers& to) {
  const CodeTeams teams = code_teams(size, block);
  const bool wide = blocks_aligned(block, x) && codes_aligned(to.codes);
  if (bits == 8) {
    launch<encode_basis_kernel<8>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, x, to.codes,
                                   to.scales);
  } else {
    launch<encode_basis_kernel<4>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, x, to.codes,
                                   to.scales);
  }
}

template <int kBits>
__global__ void __launch_bounds__(kMostCodeTeam)
    decode_basis_kernel(int64_t size, int64_t block, bool wide, const uint8_t* __restrict__ codes,
                        const float* __restrict__ scales, float* __restrict__ x) {
  const int64_t rounds = code_rounds(size, block);
  for (int64_t round = 0; round < rounds; ++round) {
    const CodeBlock own = code_block(round, size, block);
    if (own.count == 0) continue;
    const float unit = scales[own.index] / static_cast<float>(most_of(kBits));
#pragma unroll
    for (int k = 0; k < kBlockPieces; ++k) {
      const int64_t left = own.count - piece_begin(k);
      if (left <= 0) continue;
      const int64_t at = own.begin + piece_begin(k);
      const uint32_t packed = kBits == 8 ? load_codes(codes + at, left, wide) : load_halves(codes + at / 2, left);
      Piece<float, kBlockPiece> numbers;
#pragma unroll
      for (int i = 0; i < kBlockPiece; ++i)
        numbers.value[i] = math::absmax_value(static_cast<int>(packed >> (8 * i) & 255U), unit, most_of(kBits));
      store_numbers(x + at, left, wide, numbers);
    }
  }
}

void decode_basis(const Execution& on, int bits, int64_t size, int64_t block, const CodedNumbers& from, float* x) {
  const CodeTeams teams = code_teams(size, block);
  const bool wide = blocks_aligned(block, x) && codes_aligned(from.codes);
  if (bits == 8) {
    launch<decode_basis_kernel<8>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, from.codes,
                                   from.scales, x);
  } else {
    launch<decode_basis_kernel<4>>(on, teams.grid_size(), teams.block_size(), 0, size, block, wide, from.codes,
                                   from.scales, x);
  }
}

}  // namespace

void fill_quantize(OperationTable& table) {
  table.encode_moment = encode_moment;
  table.decode_moment = decode_moment;
  table.encode_basis = encode_basis;
  table.decode_basis = decode_basis;
}

}  // namespace galleon::cuda
