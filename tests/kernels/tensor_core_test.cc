// The executor's tensor cores against the layouts that the PTX ISA documents for mma.m16n8k16 with bf16 numbers, for
// ldmatrix and for cp.async. What is expected is written by element, as that document does.
#include "kernels/cuda/tensor_core.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/launch.h"

namespace galleon {
namespace {

using namespace cuda;  // NOLINT: as kernels see it

const Execution kNowhere;

// Integers that bf16 holds, and whose products of 16 terms fp32 holds.
BFloat16 number_of(int i) {
  return math::to_bfloat16(static_cast<float>(i * 37 % 201 - 100));
}

// Fragments by "Matrix Fragments for mma.m16n8k16 with floating point type": element i of a lane, two to a register.
__device__ int group_of(int lane) {
  return lane >> 2;
}
__device__ int row_of_a(int lane, int i) {
  return (i < 2 || (i >= 4 && i < 6)) ? group_of(lane) : group_of(lane) + 8;
}
__device__ int column_of_a(int lane, int i) {
  return lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8);
}
__device__ int row_of_b(int lane, int i) {
  return lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8);
}
__device__ int row_of_c(int lane, int i) {
  return i < 2 ? group_of(lane) : group_of(lane) + 8;
}
__device__ int column_of_c(int lane, int i) {
  return lane % 4 * 2 + (i & 1);
}

__global__ void product_kernel(const BFloat16* a, const BFloat16* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x);
  uint32_t left[4] = {};
  uint32_t right[2] = {};
  for (int i = 0; i < 8; ++i) {
    left[i / 2] |= static_cast<uint32_t>(a[row_of_a(lane, i) * 16 + column_of_a(lane, i)].bits) << (16 * (i % 2));
  }
  for (int i = 0; i < 4; ++i) {
    right[i / 2] |= static_cast<uint32_t>(b[row_of_b(lane, i) * 8 + group_of(lane)].bits) << (16 * (i % 2));
  }
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[row_of_c(lane, i) * 8 + column_of_c(lane, i)];
  mma_m16n8k16(sums, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) d[row_of_c(lane, i) * 8 + column_of_c(lane, i)] = sums[i];
}

TEST(TensorCore, AProductOfFragmentsIsTheProductOfTheMatrices) {
  std::vector<BFloat16> a(16 * 16);
  std::vector<BFloat16> b(16 * 8);
  std::vector<float> d(16 * 8);
  for (int i = 0; i < 256; ++i) a[i] = number_of(i);
  for (int i = 0; i < 128; ++i) b[i] = number_of(5 * i + 3);
  for (int i = 0; i < 128; ++i) d[i] = static_cast<float>(i);
  launch<product_kernel>(kNowhere, 1, 32, 0, a.data(), b.data(), d.data());
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float expected = static_cast<float>(row * 8 + column);
      for (int k = 0; k < 16; ++k) expected += math::to_float(a[row * 16 + k]) * math::to_float(b[k * 8 + column]);
      EXPECT_EQ(d[row * 8 + column], expected) << row << ", " << column;
    }
  }
}

// Four 8×8 matrices stand one after the other in `from`; lane l brings row l % 8 of matrix l / 8.
__global__ void load_kernel(const BFloat16* from, bool transposed, uint32_t* to) {
  auto* memory = dynamic_shared<BFloat16>();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) memory[i] = from[i];
  __syncwarp();
  uint32_t r[4];
  const SharedAddress row = shared_address(memory + threadIdx.x * 8);
  if (transposed) {
    load_matrix_x4_transposed(r, row);
  } else {
    load_matrix_x4(r, row);
  }
  // What others have loaded must not depend on what a lane writes next.
  for (int i = 0; i < 8; ++i) memory[threadIdx.x * 8 + i] = BFloat16{0};
  for (int m = 0; m < 4; ++m) to[threadIdx.x * 4 + m] = r[m];
}

TEST(TensorCore, LoadsGiveEachLaneItsPairOfEveryMatrix) {
  std::vector<BFloat16> from(256);
  for (int i = 0; i < 256; ++i) from[i].bits = static_cast<uint16_t>(i);
  std::vector<uint32_t> to(128);
  for (const bool transposed : {false, true}) {
    launch<load_kernel>(kNowhere, 1, 32, 512, from.data(), transposed, to.data());
    for (int lane = 0; lane < 32; ++lane) {
      for (int m = 0; m < 4; ++m) {
        for (int i = 0; i < 2; ++i) {
          const int row = transposed ? lane % 4 * 2 + i : lane / 4;
          const int column = transposed ? lane / 4 : lane % 4 * 2 + i;
          EXPECT_EQ(to[lane * 4 + m] >> (16 * i) & 0xffff, static_cast<uint32_t>(64 * m + 8 * row + column)) << lane;
        }
      }
    }
  }
}

// Two groups of copies; what has arrived after each wait.
__global__ void copy_kernel(const uint32_t* from, uint32_t* all_to) {
  uint32_t* to = all_to + blockIdx.x * 192;
  auto* memory = dynamic_shared<uint32_t>();
  const unsigned thread = threadIdx.x;
  copy_async(shared_address(memory + thread * 4), from + thread * 4, true);
  copy_async_commit();
  copy_async(shared_address(memory + 256 + thread * 4), nullptr, false);
  copy_async_commit();
  copy_async_wait<1>();
  to[thread * 3] = memory[thread * 4 + 3];
  to[thread * 3 + 1] = memory[256 + thread * 4 + 3];
  copy_async_wait<0>();
  to[thread * 3 + 2] = memory[256 + thread * 4 + 3];
}

TEST(TensorCore, CopiesArriveWhenTheirGroupIsWaitedForAndZerosWhereNothingIsRead) {
  alignas(16) uint32_t from[256];
  for (uint32_t i = 0; i < 256; ++i) from[i] = i;
  std::vector<uint32_t> to(2 * 64 * 3);
  launch<copy_kernel>(kNowhere, 2, 64, 2048, from, to.data());
  for (uint32_t thread = 0; thread < 64; ++thread) {
    EXPECT_EQ(to[thread * 3], thread * 4 + 3);
    EXPECT_EQ(to[thread * 3 + 1], 0xffffffffU) << "the executor lets a copy arrive as late as it may";
    EXPECT_EQ(to[thread * 3 + 2], 0U);
    EXPECT_EQ(to[192 + thread * 3 + 1], 0U) << "or as early, in blocks of odd number";
  }
}

}  // namespace
}  // namespace galleon
