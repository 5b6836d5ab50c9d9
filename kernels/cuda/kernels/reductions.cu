// Tensors reduced to one number. Sums are in double over fixed pieces of rows, added in a fixed order: neither the grid
// nor the GPU changes the result.
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/bits.h"
#include "kernels/math/mix.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

// The sum over the block's threads, in a fixed order; thread 0 gets it.
__device__ double block_sum(double own) {
  __shared__ double of_warps[kThreads / kWarp];
  const double sum = warp_sum(own);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = sum;
  __syncthreads();
  double total = 0.0;
  if (threadIdx.x == 0) {
    for (int w = 0; w < kThreads / kWarp; ++w) total += of_warps[w];
  }
  return total;
}

// partial[b] ← the sum of piece b, kSumBlock numbers of a row or its last.
template <typename T, int count, bool squares>
__global__ void partial_sums_kernel(int64_t pieces, int64_t per_row, int64_t n, const T* __restrict__ x, int64_t ldx,
                                    double* __restrict__ partial) {
  for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
    const int64_t row = piece / per_row;
    const int64_t begin = (piece - row * per_row) * kSumBlock;
    const int64_t numbers = n - begin < kSumBlock ? n - begin : kSumBlock;
    const T* at = x + row * ldx + begin;
    double sum = 0.0;
    for (int64_t i = static_cast<int64_t>(threadIdx.x) * count; i < numbers; i += int64_t{kThreads} * count) {
      const Piece<T, count> own = load_piece<count>(at + i);
#pragma unroll
      for (int j = 0; j < count; ++j) {
        const auto number = static_cast<double>(math::load(own.value[j]));
        sum += squares ? number * number : number;
      }
    }
    const double total = block_sum(sum);
    if (threadIdx.x == 0) partial[piece] = total;
  }
}

__global__ void add_partial_sums_kernel(int64_t pieces, const double* __restrict__ partial, double* total) {
  double sum = 0.0;
  for (int64_t piece = threadIdx.x; piece < pieces; piece += kThreads) sum += partial[piece];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

template <typename T, bool squares>
void reduce_to(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, double* total, void* scratch) {
  auto* partial = static_cast<double*>(scratch);
  const int64_t per_row = sum_blocks(n);
  const int64_t pieces = rows * per_row;
  by_pieces<T>(n, {{x.data, rows > 1 ? x.stride : 0}}, [&]<int count>() {
    launch<partial_sums_kernel<T, count, squares>>(on, blocks_for(pieces, 1), kThreads, 0, pieces, per_row, n, x.data,
                                                   x.stride, partial);
  });
  launch<add_partial_sums_kernel>(on, 1, kThreads, 0, pieces, partial, total);
}

template <typename T, bool squares>
double reduce(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, void* scratch) {
  auto* total = result_slot<double>(on);
  reduce_to<T, squares>(on, rows, n, x, total, scratch);
  return read_back(on, total);
}

template <typename T>
double sum_of_squares(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, void* scratch) {
  return reduce<T, true>(on, rows, n, x, scratch);
}

double sum(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, void* scratch) {
  return reduce<float, false>(on, rows, n, x, scratch);
}

__global__ void nothing_found_kernel(unsigned* found) {
  *found = 0;
}

template <typename T, int count>
__global__ void find_not_finite_kernel(int64_t rows, int64_t pieces, const T* __restrict__ x, int64_t ldx,
                                       unsigned* found) {
  bool bad = false;
  for (int64_t i = grid_thread(); i < rows * pieces; i += grid_threads()) {
    const int64_t row = i / pieces;
    const Piece<T, count> own = load_piece<count>(x + row * ldx + (i - row * pieces) * count);
#pragma unroll
    for (int j = 0; j < count; ++j) {
      bad = bad || (math::bits_of(math::load(own.value[j])) & 0x7f800000U) == 0x7f800000U;
    }
  }
  if (bad) atomicOr(found, 1U);
}

template <typename T>
bool all_finite(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x) {
  auto* found = result_slot<unsigned>(on);
  launch<nothing_found_kernel>(on, 1, 1, 0, found);
  by_pieces<T>(n, {{x.data, rows > 1 ? x.stride : 0}}, [&]<int count>() {
    const int64_t pieces = n / count;
    launch<find_not_finite_kernel<T, count>>(on, blocks_for(rows * pieces, kThreads), kThreads, 0, rows, pieces, x.data,
                                             x.stride, found);
  });
  return read_back(on, found) == 0;
}

constexpr int kHashThreads = 128;
constexpr int kStripeBytes = 8 * math::kHashLanes;
constexpr int kHashAhead = 8;  // words that are on their way before the first is absorbed

// The 8 bytes at `at`, of which those from `end` on count as zeros.
__device__ uint64_t word_at(const unsigned char* at, const unsigned char* end) {
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i) {
    if (at + i < end) word |= static_cast<uint64_t>(at[i]) << (8 * i);
  }
  return word;
}

// As the CPU's: blocks of kHashBlockBytes, whose words are dealt to 8 lanes in turn. 8 threads share a block.
template <bool aligned>
__global__ void hash_blocks_kernel(int64_t blocks, int64_t bytes, const unsigned char* __restrict__ data,
                                   uint64_t* __restrict__ partial) {
  const int lane = static_cast<int>(threadIdx.x) % math::kHashLanes;
  const int64_t block = grid_thread() / math::kHashLanes;
  uint64_t state = 0;
  int64_t own_bytes = 0;
  if (block < blocks) {
    const int64_t left = bytes - block * math::kHashBlockBytes;
    own_bytes = left < math::kHashBlockBytes ? left : math::kHashBlockBytes;
    const unsigned char* begin = data + block * math::kHashBlockBytes;
    const unsigned char* end = begin + own_bytes;
    const unsigned char* at = begin + 8 * lane;
    state = math::hash_lane(static_cast<uint64_t>(block), static_cast<uint64_t>(lane));
    const int64_t stripes = own_bytes / kStripeBytes;
    int64_t stripe = 0;
    if (aligned) {
      for (; stripe + kHashAhead <= stripes; stripe += kHashAhead) {
        uint64_t words[kHashAhead];
#pragma unroll
        for (int a = 0; a < kHashAhead; ++a) {
          words[a] = *reinterpret_cast<const uint64_t*>(at + (stripe + a) * kStripeBytes);
        }
#pragma unroll
        for (int a = 0; a < kHashAhead; ++a) state = math::absorb(state, words[a]);
      }
    }
    // A last piece of less than a stripe is padded with zeros in every lane.
    for (; stripe * kStripeBytes < own_bytes; ++stripe) {
      state = math::absorb(state, word_at(at + stripe * kStripeBytes, end));
    }
  }
  uint64_t hash = math::avalanche(static_cast<uint64_t>(own_bytes) + 1);
  for (int l = 0; l < math::kHashLanes; ++l) {
    const auto other = static_cast<unsigned long long>(state);
    const int from = static_cast<int>(threadIdx.x) % kWarp - lane + l;
    hash = math::avalanche(math::absorb(hash, __shfl_sync(kAllLanes, other, from)));
  }
  if (block < blocks && lane == 0) partial[block] = hash;
}

// One warp: its lanes read ahead, and absorb what they read in the order of the blocks.
__global__ void hash_of_blocks_kernel(int64_t blocks, int64_t bytes, const uint64_t* __restrict__ partial,
                                      uint64_t* result) {
  uint64_t hash = math::avalanche(static_cast<uint64_t>(bytes) + 1);
  for (int64_t first = 0; first < blocks; first += kWarp) {
    const int64_t own = first + threadIdx.x;
    const unsigned long long read = own < blocks ? partial[own] : 0;
    for (int l = 0; l < kWarp; ++l) {
      const uint64_t word = __shfl_sync(kAllLanes, read, l);
      if (first + l < blocks) hash = math::avalanche(math::absorb(hash, word));
    }
  }
  if (threadIdx.x == 0) *result = hash;
}

uint64_t hash_bytes(const Execution& on, const void* data, int64_t bytes, void* scratch) {
  const auto* begin = static_cast<const unsigned char*>(data);
  auto* partial = static_cast<uint64_t*>(scratch);
  const int64_t blocks = ceil_div(bytes, math::kHashBlockBytes);
  if (blocks > 0) {
    constexpr int64_t kPerBlock = kHashThreads / math::kHashLanes;
    const dim3 grid(static_cast<unsigned>(ceil_div(blocks, kPerBlock)));
    if (reinterpret_cast<uintptr_t>(begin) % 8 == 0) {
      launch<hash_blocks_kernel<true>>(on, grid, kHashThreads, 0, blocks, bytes, begin, partial);
    } else {
      launch<hash_blocks_kernel<false>>(on, grid, kHashThreads, 0, blocks, bytes, begin, partial);
    }
  }
  auto* result = result_slot<uint64_t>(on);
  launch<hash_of_blocks_kernel>(on, 1, kWarp, 0, blocks, bytes, partial, result);
  return read_back(on, result);
}

}  // namespace

void fill_reductions(OperationTable& table) {
  table.f32.sum_of_squares = sum_of_squares<float>;
  table.bf16.sum_of_squares = sum_of_squares<BFloat16>;
  table.f32.note_sum_of_squares = reduce_to<float, true>;
  table.bf16.note_sum_of_squares = reduce_to<BFloat16, true>;
  table.sum = sum;
  table.sum_workspace = sum_workspace;
  table.f32.all_finite = all_finite<float>;
  table.bf16.all_finite = all_finite<BFloat16>;
  table.hash_bytes = hash_bytes;
  table.hash_bytes_workspace = hash_bytes_workspace;
}

}  // namespace galleon::cuda
