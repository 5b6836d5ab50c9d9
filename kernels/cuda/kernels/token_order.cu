// A radix sort from the lowest digit of the ids to the highest. A round counts the digits of each tile of tokens, and
// then every tile finds where its digits begin from all counts and places its tokens, those of a digit in their order:
// work grows with the tokens, and with the square of the tiles by no more than 256 counts for a pair.
#include "kernels/cuda/kernels/token_order.h"

#include <bit>

#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kDigitBits = 8;
static_assert(kDigits == 1 << kDigitBits);
constexpr int kThreads = kDigits;  // one for each digit, too
constexpr int kWarps = kThreads / kWarp;
constexpr int kOfWarp = static_cast<int>(kTokensOfTile) / kWarps;  // tokens of a tile that a warp places
constexpr int kOfLane = kOfWarp / kWarp;
constexpr int kNoDigit = kDigits;  // beyond the last token

// The token at a place of the order that a round begins with; null: the tokens as they come.
__device__ __forceinline__ int32_t token_at(const int32_t* order, int64_t place) {
  return order != nullptr ? order[place] : static_cast<int32_t>(place);
}

__device__ __forceinline__ int digit_of(int32_t id, int64_t vocabulary, int shift) {
  return id_in(id, vocabulary) >> shift & (kDigits - 1);
}

// counts[tile, digit] ← the tokens of the tile with that digit.
__global__ void count_digits_kernel(int64_t tokens, int64_t vocabulary, int shift, const int32_t* __restrict__ ids,
                                    const int32_t* __restrict__ order, int32_t* __restrict__ counts) {
  __shared__ int32_t held[kDigits];
  held[threadIdx.x] = 0;
  __syncthreads();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTokensOfTile;
  for (int64_t i = threadIdx.x; i < kTokensOfTile && begin + i < tokens; i += kThreads) {
    atomicAdd(&held[digit_of(ids[token_at(order, begin + i)], vocabulary, shift)], 1);
  }
  __syncthreads();
  counts[static_cast<int64_t>(blockIdx.x) * kDigits + threadIdx.x] = held[threadIdx.x];
}

// The sum of what threads of lower number bring.
__device__ int32_t sum_before(int32_t own) {
  __shared__ int32_t sums[kThreads];
  const auto t = static_cast<int>(threadIdx.x);
  sums[t] = own;
  for (int distance = 1; distance < kThreads; distance *= 2) {
    __syncthreads();
    const int32_t before = t >= distance ? sums[t - distance] : 0;
    __syncthreads();
    sums[t] += before;
  }
  return sums[t] - own;
}

__global__ void place_tokens_kernel(int64_t tokens, int64_t vocabulary, int shift, const int32_t* __restrict__ ids,
                                    const int32_t* __restrict__ order, const int32_t* __restrict__ counts,
                                    int32_t* __restrict__ next) {
  __shared__ int32_t place_of[kWarps][kDigits];  // counts of each warp's tokens, then where they begin
  __shared__ int16_t digits[kTokensOfTile];
  const auto t = static_cast<int>(threadIdx.x);
  const int warp = t / kWarp;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kTokensOfTile;

  // Where the digit of this thread begins: behind all lower digits, and behind the same digit of earlier tiles.
  int32_t all = 0;
  int32_t earlier = 0;
  for (int64_t tile = 0; tile < gridDim.x; ++tile) {
    const int32_t count = counts[tile * kDigits + t];
    if (tile < blockIdx.x) earlier += count;
    all += count;
  }
  const int32_t first = sum_before(all) + earlier;

  for (int w = 0; w < kWarps; ++w) place_of[w][t] = 0;
  __syncthreads();
  int32_t token[kOfLane];
#pragma unroll
  for (int k = 0; k < kOfLane; ++k) {
    const int at = warp * kOfWarp + k * kWarp + t % kWarp;
    const bool there = begin + at < tokens;
    token[k] = there ? token_at(order, begin + at) : 0;
    const int digit = there ? digit_of(ids[token[k]], vocabulary, shift) : kNoDigit;
    digits[at] = static_cast<int16_t>(digit);
    if (there) atomicAdd(&place_of[warp][digit], 1);
  }
  __syncthreads();
  int32_t place = first;
  for (int w = 0; w < kWarps; ++w) {
    const int32_t count = place_of[w][t];
    place_of[w][t] = place;
    place += count;
  }
  __syncthreads();
  int32_t before[kOfLane] = {};
  int own[kOfLane];
#pragma unroll
  for (int k = 0; k < kOfLane; ++k) own[k] = digits[warp * kOfWarp + k * kWarp + t % kWarp];
  for (int i = 0; i < kOfWarp; ++i) {
    const int digit = digits[warp * kOfWarp + i];
#pragma unroll
    for (int k = 0; k < kOfLane; ++k) before[k] += digit == own[k] && i < k * kWarp + t % kWarp ? 1 : 0;
  }
#pragma unroll
  for (int k = 0; k < kOfLane; ++k) {
    if (own[k] != kNoDigit) next[place_of[warp][own[k]] + before[k]] = token[k];
  }
}

}  // namespace

const int32_t* order_by_id(const Execution& on, int64_t tokens, int64_t vocabulary, const int32_t* ids, void* scratch) {
  const int64_t tiles = tiles_of_tokens(tokens);
  auto* counts = static_cast<int32_t*>(scratch);
  int32_t* orders[] = {counts + tiles * kDigits, counts + tiles * kDigits + tokens};
  const int bits = std::bit_width(static_cast<uint64_t>(vocabulary > 1 ? vocabulary - 1 : 1));
  const dim3 grid(static_cast<unsigned>(tiles));
  const int32_t* order = nullptr;
  for (int shift = 0; shift < bits; shift += kDigitBits) {
    int32_t* next = orders[shift / kDigitBits % 2];
    launch<count_digits_kernel>(on, grid, kThreads, 0, tokens, vocabulary, shift, ids, order, counts);
    launch<place_tokens_kernel>(on, grid, kThreads, 0, tokens, vocabulary, shift, ids, order, counts, next);
    order = next;
  }
  return order;
}

}  // namespace galleon::cuda
