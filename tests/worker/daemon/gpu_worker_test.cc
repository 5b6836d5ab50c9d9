// galleon-worker on a machine whose NVIDIA driver is the tests' own.
#include <gmock/gmock.h>

#include <filesystem>

#include "tests/worker/daemon/daemon_fixture.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class GpuWorkerTest : public DaemonTest {
 protected:
  GpuWorkerTest() {
    environment_ = {{"LD_LIBRARY_PATH", GALLEON_BINARY_DIR "/fake_nvml"}, {"FAKE_NVML", cards_file()}};
    set_cards("GPU-1111 24576 24000 41 7 0 0 NVIDIA Test 24GB\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n");
  }
  std::string cards_file() const { return folder_ + "/cards"; }
  void set_cards(const std::string& lines) { EXPECT_TRUE(write_file_atomically(cards_file(), lines).ok()); }
};

TEST_F(GpuWorkerTest, RegistersItsGpusByUuidWithTheirMemoryAndShowsThemInItsMetrics) {
  start({"--device", "cuda"});
  ASSERT_EQ(scheduler_.registrations.size(), 1U);
  const v1::Worker& worker = scheduler_.registrations[0].worker();
  ASSERT_EQ(worker.devices_size(), 2);
  EXPECT_EQ(worker.devices(1).kind(), "cuda");
  EXPECT_EQ(worker.devices(1).index(), 1U);
  EXPECT_EQ(worker.devices(1).uuid(), "GPU-2222");
  EXPECT_EQ(worker.devices(1).name(), "NVIDIA Test 24GB");
  EXPECT_EQ(worker.devices(1).memory_bytes(), uint64_t{24} << 30);
  EXPECT_EQ(worker.devices(1).free_memory_bytes(), uint64_t{22976} << 20) << "in steps of 64 MiB";
  EXPECT_TRUE(worker.devices(1).healthy());
  const std::string metrics = scrape(ready_file());
  EXPECT_THAT(
      metrics,
      HasSubstr("galleon_worker_gpu_info{worker=\"w1\",slot=\"0\",uuid=\"GPU-1111\",name=\"NVIDIA Test 24GB\"} 1"));
  EXPECT_THAT(metrics,
              HasSubstr("galleon_worker_gpu_temperature_celsius{worker=\"w1\",slot=\"1\",uuid=\"GPU-2222\"} 52"));
  EXPECT_THAT(metrics,
              HasSubstr("galleon_worker_gpu_utilisation_ratio{worker=\"w1\",slot=\"1\",uuid=\"GPU-2222\"} 0.9"));
}

TEST_F(GpuWorkerTest, ARankIsToldItsSlotsGpu) {
  start({"--device", "cuda"});
  v1::Assignment wanted = assignment("a", "device; sleep 60000");
  wanted.set_slot(1);
  scheduler_.assign(wanted);
  EXPECT_TRUE(scheduler_.wait_for([&] { return absl::StrContains(scheduler_.logs["a.1.0"], "cuda GPU-2222"); }));
}

TEST_F(GpuWorkerTest, MetricsTieARankToItsSlotsGpuAndItsMemory) {
  start({"--device", "cuda"});
  // Slots that are GPUs have no share of the machine's memory: a part of it would be a part of nothing.
  EXPECT_THAT(scrape(ready_file()), testing::Not(HasSubstr("galleon_worker_slot_memory_bytes")));
  v1::Assignment wanted = assignment("a", "step 1; sleep 60000");
  wanted.set_slot(1);
  scheduler_.assign(wanted);
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.reports["a.1.0"].progress().step() == 1; }));
  const std::string metrics = scrape(ready_file());
  EXPECT_THAT(metrics, HasSubstr("galleon_rank_info{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\","
                                 "device=\"cuda\",slot=\"1\",gpu_uuid=\"GPU-2222\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("galleon_job_memory_limit_bytes{worker=\"w1\",job_id=\"a\",attempt=\"1\",rank=\"0\","
                                 "device=\"cuda\"} 25769803776"));
}

TEST_F(GpuWorkerTest, ADeviceThatFailsUnderItsRankIsReportedUnhealthyWithTheReason) {
  start({"--device", "cuda"});
  v1::Assignment wanted = assignment("a", "log 3; fail-device");
  wanted.set_slot(1);
  scheduler_.assign(wanted);
  ASSERT_TRUE(scheduler_.wait_for_phase("a.1.0", kExited));
  const v1::RankReport report = scheduler_.report("a.1.0");
  EXPECT_TRUE(report.device_failed());
  EXPECT_EQ(report.finished().message(), "the device failed: its memory is broken");
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.devices.size() == 2 && !scheduler_.devices[1].healthy(); }));
  EXPECT_EQ(scheduler_.devices[1].fault(), "the device failed: its memory is broken");
  EXPECT_TRUE(scheduler_.devices[0].healthy());
}

TEST_F(GpuWorkerTest, ACardThatFallsOffTheBusIsReportedWithinSeconds) {
  start({"--device", "cuda"});
  set_cards("GPU-1111 24576 24000 41 7 15 0 NVIDIA Test 24GB\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n");
  ASSERT_TRUE(scheduler_.wait_for([&] { return scheduler_.devices.size() == 2 && !scheduler_.devices[0].healthy(); }));
  EXPECT_THAT(scheduler_.devices[0].fault(), HasSubstr("GPU is lost"));
}

TEST_F(GpuWorkerTest, ACardInMigModeIsUnhealthyInASentence) {
  set_cards("GPU-1111 24576 24000 41 7 0 0 NVIDIA MIG Test\nGPU-2222 24576 23000 52 90 0 0 NVIDIA Test 24GB\n");
  start({"--device", "cuda"});
  const v1::Worker& worker = scheduler_.registrations[0].worker();
  EXPECT_FALSE(worker.devices(0).healthy());
  EXPECT_THAT(worker.devices(0).fault(), HasSubstr("MIG mode"));
  EXPECT_TRUE(worker.devices(1).healthy());
}

TEST_F(GpuWorkerTest, NumbersOfVisibleCardsEndAtTheFirstThatIsNone) {
  set_cards(
      "GPU-1111 24576 24000 41 7 0 0 NVIDIA A\nGPU-2222 24576 24000 41 7 0 0 NVIDIA A\nGPU-3333 24576 24000 41 7 0 0 "
      "NVIDIA A\n");
  environment_.emplace_back("CUDA_VISIBLE_DEVICES", "1,-1,0");
  start({"--device", "auto"});
  const v1::Worker& worker = scheduler_.registrations[0].worker();
  EXPECT_EQ(worker.devices(0).uuid(), "GPU-2222");
  EXPECT_NE(worker.devices(1).kind(), "cuda");
}

TEST_F(GpuWorkerTest, NumbersOfCardsThatDifferNeedTheOrderOfTheBus) {
  set_cards("GPU-1111 24576 24000 41 7 0 0 NVIDIA A\nGPU-2222 81920 80000 41 7 0 0 NVIDIA B\n");
  environment_.emplace_back("CUDA_VISIBLE_DEVICES", "1");
  environment_.emplace_back("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
  start({"--device", "auto"});
  EXPECT_EQ(scheduler_.registrations[0].worker().devices(0).uuid(), "GPU-2222");
}

TEST_F(GpuWorkerTest, NumbersWhoseOrderIsUnknownAndInstancesAreRefusedInASentence) {
  set_cards("GPU-1111 24576 24000 41 7 0 0 NVIDIA A\nGPU-2222 81920 80000 41 7 0 0 NVIDIA B\n");
  for (const auto& [visible, sentence] :
       {std::pair{"1", "CUDA_DEVICE_ORDER=PCI_BUS_ID"}, std::pair{"MIG-7777", "an instance of a GPU"}}) {
    ProcessOptions options;
    options.command = command({"--device", "auto"});
    options.stderr_path = folder_ + "/refused.log";
    options.environment = environment_;
    options.environment.emplace_back("CUDA_VISIBLE_DEVICES", visible);
    const absl::StatusOr<ProcessId> process = start_process(options);
    ASSERT_TRUE(process.ok()) << process.status();
    const absl::StatusOr<std::optional<ProcessExit>> exit = wait_process(process->pid, kPatience);
    ASSERT_TRUE(exit.ok() && exit->has_value()) << visible;
    EXPECT_NE((*exit)->code, 0);
    EXPECT_THAT(*read_file(options.stderr_path), HasSubstr(sentence));
  }
}

TEST_F(GpuWorkerTest, WithoutADriverAutoOffersProcessors) {
  environment_.pop_back();
  start({"--device", "auto"});
  EXPECT_EQ(scheduler_.registrations[0].worker().devices(0).kind(), "cpu");
}

}  // namespace
}  // namespace galleon
