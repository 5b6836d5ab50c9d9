// Blocks of coded numbers: a team of threads works on a block and keeps its numbers in registers, two pieces of four to
// a thread, from the pass that finds the largest to the pass that codes.
#pragma once

#include <algorithm>

#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/dynamic8.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {

constexpr int kBlockPiece = 4;   // numbers that a thread moves at once: 16 bytes of fp32, 4 of codes
constexpr int kBlockPieces = 2;  // pieces of a thread
constexpr int kCodeThreads = 256;
constexpr int kMostCodeTeam = 512;  // threads of the team of a block of 4,096 numbers

// A power of two; teams that are smaller than a warp share one.
struct CodeTeams {
  int width;
  int height;
  int64_t blocks;  // of threads
  dim3 grid_size() const { return dim3(static_cast<unsigned>(blocks)); }
  dim3 block_size() const { return dim3(static_cast<unsigned>(width), static_cast<unsigned>(height)); }
};
inline CodeTeams code_teams(int64_t size, int64_t block) {
  CodeTeams teams{};
  teams.width = 1;
  while (teams.width < kMostCodeTeam && int64_t{teams.width} * kBlockPiece * kBlockPieces < block) teams.width *= 2;
  teams.height = std::max(1, kCodeThreads / teams.width);
  teams.blocks = blocks_for(ceil_div(size, block), teams.height).x;
  return teams;
}

// Blocks of a team, one after the other. Every thread of a thread block takes part in every round, so that all may meet
// in shuffles and barriers; `count` is 0 where a team has no block any more.
struct CodeBlock {
  int64_t index;
  int64_t begin;
  int64_t count;
};
__device__ __forceinline__ int64_t code_rounds(int64_t size, int64_t block) {
  const int64_t blocks = ceil_div(size, block);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y;
  return first < blocks ? ceil_div(blocks - first, step) : 0;
}
__device__ __forceinline__ CodeBlock code_block(int64_t round, int64_t size, int64_t block) {
  CodeBlock own{};
  own.index = (static_cast<int64_t>(gridDim.x) * round + blockIdx.x) * blockDim.y + threadIdx.y;
  own.begin = own.index * block;
  const int64_t left = size - own.begin;
  own.count = left < 0 ? 0 : (left < block ? left : block);
  return own;
}
// The first number of piece k within a block.
__device__ __forceinline__ int piece_begin(int k) {
  return (static_cast<int>(threadIdx.x) + k * static_cast<int>(blockDim.x)) * kBlockPiece;
}

// Numbers from a thread's piece to its next.
__device__ __forceinline__ int64_t piece_step() {
  return static_cast<int64_t>(blockDim.x) * kBlockPiece;
}

// x ← the largest x of the team; 0 or more. `shared` holds kMostCodeTeam/kWarp numbers. All threads of a block call it.
__device__ __forceinline__ float team_largest(float x, float* shared) {
  const int width = static_cast<int>(blockDim.x);
  for (int distance = (width < kWarp ? width : kWarp) / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, x, distance);
    x = other > x ? other : x;
  }
  if (width <= kWarp) return x;
  const int warps_of_team = width / kWarp;
  const int linear = static_cast<int>(threadIdx.y) * width + static_cast<int>(threadIdx.x);
  if (linear % kWarp == 0) shared[linear / kWarp] = x;
  __syncthreads();
  const int first = static_cast<int>(threadIdx.y) * warps_of_team;
  for (int warp = first; warp < first + warps_of_team; ++warp) x = shared[warp] > x ? shared[warp] : x;
  __syncthreads();  // before the next block's numbers
  return x;
}

// Four fp32 numbers of a block from `at` on, and four codes; `left` of them exist, and the rest become 0. `wide`: the
// addresses of all blocks are multiples of 16 bytes for numbers and 4 for codes.
__device__ __forceinline__ Piece<float, kBlockPiece> load_numbers(const float* at, int64_t left, bool wide) {
  if (wide && left >= kBlockPiece) return load_piece<kBlockPiece>(at);
  Piece<float, kBlockPiece> piece;
#pragma unroll
  for (int i = 0; i < kBlockPiece; ++i) piece.value[i] = i < left ? at[i] : 0.0F;
  return piece;
}
__device__ __forceinline__ void store_numbers(float* at, int64_t left, bool wide,
                                              const Piece<float, kBlockPiece>& piece) {
  if (wide && left >= kBlockPiece) {
    store_piece(at, piece);
    return;
  }
#pragma unroll
  for (int i = 0; i < kBlockPiece; ++i) {
    if (i < left) at[i] = piece.value[i];
  }
}
__device__ __forceinline__ uint32_t load_codes(const uint8_t* at, int64_t left, bool wide) {
  if (wide && left >= kBlockPiece) return *reinterpret_cast<const uint32_t*>(at);
  uint32_t codes = 0;
#pragma unroll
  for (int i = 0; i < kBlockPiece; ++i) codes |= (i < left ? uint32_t{at[i]} : 0U) << (8 * i);
  return codes;
}
__device__ __forceinline__ void store_codes(uint8_t* at, int64_t left, bool wide, uint32_t codes) {
  if (wide && left >= kBlockPiece) {
    *reinterpret_cast<uint32_t*>(at) = codes;
    return;
  }
#pragma unroll
  for (int i = 0; i < kBlockPiece; ++i) {
    if (i < left) at[i] = static_cast<uint8_t>(codes >> (8 * i));
  }
}

inline bool blocks_aligned(int64_t block, const float* x) {
  return reinterpret_cast<uintptr_t>(x) % 16 == 0 && block % kBlockPiece == 0;
}
inline bool codes_aligned(const uint8_t* codes) {
  return reinterpret_cast<uintptr_t>(codes) % 4 == 0;
}

// Copies the 256 values of a map, computed by the compiler, into shared memory: threads look up different ones at a
// time.
template <bool kSigned>
__device__ const math::Dynamic8 kDynamic8OnDevice = math::make_dynamic8<kSigned>();
template <bool kSigned>
__device__ __forceinline__ void load_dynamic8(float* shared) {
  const int threads = static_cast<int>(blockDim.x * blockDim.y);
  for (int i = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); i < 256; i += threads)
    shared[i] = kDynamic8OnDevice<kSigned>.value[i];
}

}  // namespace galleon::cuda
