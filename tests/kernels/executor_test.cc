// The executor runs blocks of threads as CUDA defines them, and refuses what a GPU would answer with undefined
// behaviour.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "executor_device.h"
#include "kernels/cuda/launch.h"
#include "kernels/ops/bias.h"
#include "numerics.h"

namespace galleon {
namespace {

using namespace cuda;  // NOLINT: as kernels see it

const Execution kNowhere;

__global__ void write_places(int* to) {
  const int block = static_cast<int>(blockIdx.x + gridDim.x * blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);
  to[block * static_cast<int>(blockDim.x * blockDim.y) + thread] += block * 1000 + thread;
}

TEST(Executor, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> numbers(6 * 35);
  launch<write_places>(kNowhere, dim3(2, 3), dim3(7, 5), 0, numbers.data());
  for (int block = 0; block < 6; ++block) {
    for (int thread = 0; thread < 35; ++thread) EXPECT_EQ(numbers[block * 35 + thread], block * 1000 + thread);
  }
}

__global__ void reverse_through_shared(const int* from, int* to) {
  __shared__ int fixed[100];
  int* asked = dynamic_shared<int>();
  fixed[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  asked[threadIdx.x] = fixed[99 - threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = asked[threadIdx.x];
}

TEST(Executor, ABarrierLetsThreadsSeeEachOthersSharedMemory) {
  std::vector<int> from(100);
  std::iota(from.begin(), from.end(), 0);
  std::vector<int> to(100);
  launch<reverse_through_shared>(kNowhere, 1, 100, 100 * sizeof(int), from.data(), to.data());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(to[i], 99 - i);
}

__global__ void sum_of_warps(const float* from, float* sums, unsigned* votes) {
  const float sum = warp_sum(from[threadIdx.x]);
  const unsigned vote = __ballot_sync(kAllLanes, from[threadIdx.x] > 20.0F ? 1 : 0);
  if (threadIdx.x % 32 == 0) {
    sums[threadIdx.x / 32] = sum;
    votes[threadIdx.x / 32] = vote;
  }
}

TEST(Executor, LanesExchangeWithinTheirWarp) {
  std::vector<float> from(64);
  std::iota(from.begin(), from.end(), 0.0F);
  std::vector<float> sums(2);
  std::vector<unsigned> votes(2);
  launch<sum_of_warps>(kNowhere, 1, 64, 0, from.data(), sums.data(), votes.data());
  EXPECT_EQ(sums[0], 31.0F * 16);
  EXPECT_EQ(sums[1], 31.0F * 16 + 32 * 32);
  EXPECT_EQ(votes[0], 0xffe00000U);
  EXPECT_EQ(votes[1], 0xffffffffU);
}

__global__ void shared_at_first(float* to) {
  to[0] = dynamic_shared<float>()[3];
}

TEST(Executor, SharedMemoryIsNotANumberAtFirst) {
  float value = 0;
  launch<shared_at_first>(kNowhere, 1, 1, 64, &value);
  EXPECT_TRUE(std::isnan(value));
}

__global__ void half_reach_the_barrier() {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void a_lane_ends_before_the_shuffle(float* to) {
  if (threadIdx.x == 31) return;
  to[0] = warp_sum(1.0F);
}
__global__ void barrier_here_shuffle_there(float* to) {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    to[0] = warp_sum(1.0F);
  }
}
__global__ void wide_access(const float* from, float* to) {
  store_pack(to, load_pack(from));
}

TEST(ExecutorDeathTest, RefusesWhatIsUndefinedOnAGpu) {
  run_death_tests_afresh();
  alignas(16) float numbers[8] = {};
  EXPECT_DEATH(launch<half_reach_the_barrier>(kNowhere, 1, 64, 0), "wait at a barrier that 32 never reached");
  EXPECT_DEATH(launch<a_lane_ends_before_the_shuffle>(kNowhere, 1, 32, 0, numbers), "lane 31, which has ended");
  EXPECT_DEATH(launch<barrier_here_shuffle_there>(kNowhere, 1, 32, 0, numbers), "wait for each other in different");
  EXPECT_DEATH(launch<wide_access>(kNowhere, 1, 1, 0, numbers + 1, numbers + 4), "not a multiple");
  EXPECT_DEATH(launch<wide_access>(kNowhere, 1, 2048, 0, numbers, numbers + 4), "a block of 2048 threads");
}

__global__ void order_of_lanes(int* next, int* to) {
  to[blockIdx.x * 32 + threadIdx.x] = (*next)++ % 32;
}

TEST(Executor, LanesMoveInDescendingOrderInOddBlocks) {
  int next = 0;
  std::vector<int> to(64);
  launch<order_of_lanes>(kNowhere, 2, 32, 0, &next, to.data());
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(to[lane], lane);
    EXPECT_EQ(to[32 + lane], 31 - lane);
  }
}

__global__ void write_at(char* to, int64_t offset) {
  to[offset] = 1;
}
__global__ void read_at(const char* from, int64_t offset, char* to) {
  *to = from[offset];
}
__global__ void write_behind_shared() {
  dynamic_shared<char>()[100] = 1;
}

TEST(ExecutorDeathTest, WhatWritesBeyondItsMemoryIsCaught) {
  run_death_tests_afresh();
  const auto write = [](int64_t offset) {
    const std::unique_ptr<Device> device = make_executor_device();
    const Buffer buffer = *device->allocate("numbers", MemoryCategory::kActivations, 128);
    launch<write_at>(device->execution(), 1, 1, 0, static_cast<char*>(buffer.data()), offset);
  };
  const auto read = [](int64_t bytes, int64_t offset) {
    const std::unique_ptr<Device> device = make_executor_device();
    const Buffer buffer = *device->allocate("numbers", MemoryCategory::kActivations, bytes);
    const Buffer found = *device->allocate("found", MemoryCategory::kActivations, 64);
    launch<read_at>(device->execution(), 1, 1, 0, static_cast<const char*>(buffer.data()), offset,
                    static_cast<char*>(found.data()));
  };
  write(0);
  write(127);
  for (const int64_t bytes : {64, 128, 4'032, 4'096, 100'032}) {
    read(bytes, 0);
    read(bytes, bytes - 1);
    EXPECT_EXIT(read(bytes, bytes), testing::KilledBySignal(SIGBUS), "") << bytes;
  }
  EXPECT_EXIT(write(128), testing::KilledBySignal(SIGBUS), "");
  EXPECT_DEATH(write(-1), "wrote before its piece of 128 bytes");
  EXPECT_DEATH(launch<write_behind_shared>(kNowhere, 1, 1, 100), "wrote beyond its 100 bytes of shared memory");
}

TEST(ExecutorDeathTest, TheHostCannotTouchDeviceMemory) {
  run_death_tests_afresh();
  const std::unique_ptr<Device> device = make_executor_device();
  Arena arena(*device);
  const Tensor t = arena.tensor("numbers", MemoryCategory::kActivations, 4, 4);
  const std::vector<float> ones(16, 1.0F);
  device->upload(t, ones.data());
  std::vector<float> back(16);
  device->download(back.data(), t);
  EXPECT_EQ(back, ones);
  EXPECT_DEATH(t.f32()[0] = 2.0F, "");
}

}  // namespace
}  // namespace galleon
