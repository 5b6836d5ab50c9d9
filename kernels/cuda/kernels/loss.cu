// Cross-entropy, a row to a block: one pass for the maximum and the sum of exponentials together (Milakov & Gimelshein
// 2018), and one for the gradient, which finds the row in the second-level cache.
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/launch.h"
#include "kernels/math/exponential.h"
#include "kernels/math/multiples.h"

namespace galleon::cuda {
namespace {

constexpr int kMostThreads = 512;
constexpr int kMostWarps = kMostThreads / kWarp;

// The largest of some numbers, −∞ of none, and the sum of their exponentials divided by that of the largest.
struct SoftmaxSum {
  float largest;
  float sum;
};

// What exponents are relative to: anything where there is nothing but −∞.
__device__ __forceinline__ float reference_of(float largest) {
  return largest == -INFINITY ? 0.0F : largest;
}

__device__ __forceinline__ SoftmaxSum joined(SoftmaxSum a, SoftmaxSum b) {
  const float largest = b.largest > a.largest ? b.largest : a.largest;
  const float reference = reference_of(largest);
  return {largest, a.sum * math::exponential_of_negative(a.largest - reference) +
                       b.sum * math::exponential_of_negative(b.largest - reference)};
}

// Over the n numbers of a row; every thread of the block gets it. A number that is NaN or +∞ makes the sum NaN.
template <int count>
__device__ SoftmaxSum row_sum(int64_t n, const float* x) {
  __shared__ SoftmaxSum of_warps[kMostWarps];
  SoftmaxSum own{-INFINITY, 0.0F};
  for (int64_t i = static_cast<int64_t>(threadIdx.x) * count; i < n; i += static_cast<int64_t>(blockDim.x) * count) {
    const Piece<float, count> piece = load_piece<count>(x + i);
    float largest = own.largest;
#pragma unroll
    for (int j = 0; j < count; ++j) largest = piece.value[j] > largest ? piece.value[j] : largest;
    const float reference = reference_of(largest);
    if (largest > own.largest) own.sum *= math::exponential_of_negative(own.largest - reference);
    own.largest = largest;
    float sum = 0.0F;
#pragma unroll
    for (int j = 0; j < count; ++j) sum += math::exponential_of_negative(piece.value[j] - reference);
    own.sum += sum;
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const SoftmaxSum other{__shfl_xor_sync(kAllLanes, own.largest, distance),
                           __shfl_xor_sync(kAllLanes, own.sum, distance)};
    own = joined(own, other);
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = own;
  __syncthreads();
  SoftmaxSum total = of_warps[0];
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) total = joined(total, of_warps[w]);
  return total;
}

// A target outside the vocabulary is told of later; until then it counts for nothing.
__device__ __forceinline__ int32_t target_in(int32_t target, int64_t n) {
  return target < n ? target : -1;
}

// `count` numbers of the gradient to a piece; logits are summed by `read` of them, whatever the gradient's type, so
// that losses have the same bits with any gradient and without one. gradient may lie over the logits, row over row and
// number over number or half of it: a stretch is read by the whole block before its place, which was read already, is
// written.
template <typename T, int read, int count>
__global__ void cross_entropy_kernel(int64_t n, const float* logits, int64_t ldl, const int32_t* __restrict__ targets,
                                     float scale, float z_loss, float* __restrict__ losses, T* gradient, int64_t ldg) {
  const int64_t row = blockIdx.x;
  const float* x = logits + row * ldl;
  T* g = gradient + row * ldg;
  const int32_t target = target_in(targets[row], n);
  const int64_t step = static_cast<int64_t>(blockDim.x) * count;
  if (target < 0) {
    Piece<T, count> zeros;
    for (int j = 0; j < count; ++j) math::store(zeros.value[j], 0.0F);
    for (int64_t i = static_cast<int64_t>(threadIdx.x) * count; i < n; i += step) store_piece(g + i, zeros);
    if (threadIdx.x == 0) losses[row] = 0.0F;
    return;
  }
  const SoftmaxSum total = row_sum<read>(n, x);
  if (threadIdx.x == 0) losses[row] = logf(total.sum) + (total.largest - x[target]);
  const float factor = scale / total.sum * (1.0F + 2.0F * z_loss * (logf(total.sum) + total.largest));
  for (int64_t begin = 0; begin < n; begin += step) {
    const int64_t i = begin + static_cast<int64_t>(threadIdx.x) * count;
    Piece<float, count> piece{};
    if (i < n) piece = load_piece<count>(x + i);
    __syncthreads();
    if (i < n) {
      Piece<T, count> result;
#pragma unroll
      for (int j = 0; j < count; ++j) {
        const float share = math::exponential_of_negative(piece.value[j] - total.largest) * factor;
        math::store(result.value[j], i + j == target ? share - scale : share);
      }
      store_piece(g + i, result);
    }
  }
}

template <int count>
__global__ void cross_entropy_forward_kernel(int64_t n, const float* __restrict__ logits, int64_t ldl,
                                             const int32_t* __restrict__ targets, float* __restrict__ losses) {
  const int64_t row = blockIdx.x;
  const float* x = logits + row * ldl;
  const int32_t target = target_in(targets[row], n);
  if (target < 0) {
    if (threadIdx.x == 0) losses[row] = 0.0F;
    return;
  }
  const SoftmaxSum total = row_sum<count>(n, x);
  if (threadIdx.x == 0) losses[row] = logf(total.sum) + (total.largest - x[target]);
}

// As many threads as have something to do.
unsigned threads_for(int64_t n, int count) {
  const int64_t pieces = ceil_div(n, count);
  return static_cast<unsigned>(std::clamp<int64_t>(round_up(pieces, kWarp), kWarp, kMostThreads));
}

template <typename T>
void cross_entropy(const Execution& on, const CrossEntropy<T>& a) {
  const auto run = [&]<int read, int count>() {
    launch<cross_entropy_kernel<T, read, count>>(on, static_cast<unsigned>(a.rows), threads_for(a.n, read), 0, a.n,
                                                 a.logits.data, a.logits.stride, a.targets, a.scale, a.z_loss, a.losses,
                                                 a.gradient.data, a.gradient.stride);
  };
  by_pieces<float>(a.n, {a.logits}, [&]<int read>() {
    by_pieces<T>(a.n, {a.gradient}, [&]<int count>() {
      if constexpr (read > 1) {
        run.template operator()<read, count>();
      } else {
        run.template operator()<1, 1>();
      }
    });
  });
}

void cross_entropy_forward(const Execution& on, int64_t rows, int64_t n, Matrix<const float> logits,
                           const int32_t* targets, float* losses) {
  by_pieces<float>(n, {logits}, [&]<int count>() {
    launch<cross_entropy_forward_kernel<count>>(on, static_cast<unsigned>(rows), threads_for(n, count), 0, n,
                                                logits.data, logits.stride, targets, losses);
  });
}

constexpr int kErrorThreads = 256;

__global__ void squared_error_kernel(int64_t rows, const float* outputs, int64_t ldo, const float* __restrict__ labels,
                                     float scale, float* __restrict__ losses, float* gradient, int64_t ldg) {
  for (int64_t row = grid_thread(); row < rows; row += grid_threads()) {
    const float error = outputs[row * ldo] - labels[row];
    losses[row] = error * error;
    if (gradient != nullptr) gradient[row * ldg] = 2.0F * error * scale;
  }
}

void squared_error(const Execution& on, int64_t rows, Matrix<const float> outputs, const float* labels, float scale,
                   float* losses, Matrix<float> gradient) {
  launch<squared_error_kernel>(on, blocks_for(rows, kErrorThreads), kErrorThreads, 0, rows, outputs.data,
                               outputs.stride, labels, scale, losses, gradient.data, gradient.stride);
}

}  // namespace

void fill_loss(OperationTable& table) {
  table.f32.cross_entropy = cross_entropy<float>;
  table.bf16.cross_entropy = cross_entropy<BFloat16>;
  table.cross_entropy_forward = cross_entropy_forward;
  table.squared_error = squared_error;
}

}  // namespace galleon::cuda
