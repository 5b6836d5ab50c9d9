#include "worker/daemon/slot_devices.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

class FakeGpus final : public Gpus {
 public:
  explicit FakeGpus(std::vector<GpuState>& states) : states_(states) {}
  std::vector<GpuState> look() override { return states_; }

 private:
  std::vector<GpuState>& states_;
};

GpuState gpu(const std::string& uuid) {
  return {uuid, "NVIDIA Test", 24 * kGiB, 23 * kGiB, "", 40, 0.5};
}

TEST(SlotDevices, AutoGivesGpusToTheFirstSlots) {
  std::vector<GpuState> cards = {gpu("GPU-a"), gpu("GPU-b")};
  absl::StatusOr<SlotDevices> devices = SlotDevices::make("auto", 3, std::make_unique<FakeGpus>(cards));
  ASSERT_TRUE(devices.ok()) << devices.status();
  EXPECT_EQ(devices->gpu_slots(), 2U);
  EXPECT_TRUE(devices->is_gpu(1));
  EXPECT_FALSE(devices->is_gpu(2));
  EXPECT_EQ(devices->describe(1).uuid(), "GPU-b");
  EXPECT_EQ(devices->describe(1).kind(), "cuda");
}

TEST(SlotDevices, CudaWithMoreSlotsThanGpusIsRefusedWithBothNumbers) {
  std::vector<GpuState> cards = {gpu("GPU-a")};
  EXPECT_EQ(SlotDevices::make("cuda", 2, std::make_unique<FakeGpus>(cards)).status().message(),
            "--slots 2 with --device cuda: this machine has 1 GPU, and a slot is one GPU");
}

TEST(SlotDevices, WhatOurOwnRankHoldsCountsAsFree) {
  std::vector<GpuState> cards = {gpu("GPU-a")};
  absl::StatusOr<SlotDevices> devices = SlotDevices::make("cuda", 1, std::make_unique<FakeGpus>(cards));
  devices->refresh({});
  EXPECT_EQ(devices->describe(0).free_memory_bytes(), 23 * kGiB);
  cards[0].free_bytes = 2 * kGiB;
  devices->refresh({0});
  EXPECT_EQ(devices->describe(0).free_memory_bytes(), 23 * kGiB);
  devices->refresh({});
  EXPECT_EQ(devices->describe(0).free_memory_bytes(), 2 * kGiB) << "another process holds it";
}

TEST(SlotDevices, ADeviceThatFailedUnderItsRankStaysUnhealthyAndOneThatRecoversDoesNot) {
  std::vector<GpuState> cards = {gpu("GPU-a"), gpu("GPU-b")};
  absl::StatusOr<SlotDevices> devices = SlotDevices::make("cuda", 2, std::make_unique<FakeGpus>(cards));
  cards[1].fault = "it is lost";
  devices->fail(0, "an uncorrectable error");
  devices->refresh({});
  EXPECT_FALSE(devices->describe(0).healthy());
  EXPECT_EQ(devices->describe(0).fault(), "an uncorrectable error");
  EXPECT_EQ(devices->describe(1).fault(), "it is lost");
  cards[1].fault.clear();
  devices->refresh({});
  EXPECT_FALSE(devices->describe(0).healthy());
  EXPECT_TRUE(devices->describe(1).healthy());
}

}  // namespace
}  // namespace galleon
