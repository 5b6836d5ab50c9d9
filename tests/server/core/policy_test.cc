#include "server/core/policy.h"

#include <gtest/gtest.h>

#include <set>

namespace galleon::server {
namespace {

WorkerSlots worker(const std::string& id, int slots, uint64_t bytes = 100, bool cuda = false) {
  WorkerSlots entry{id, {}, {}};
  for (int i = 0; i < slots; ++i) entry.slots.push_back({static_cast<uint32_t>(i), bytes, cuda, true, true});
  return entry;
}

Demand demand(uint32_t ranks, uint64_t bytes = 50) {
  return {ranks, bytes, v1::Resources::DEVICE_AUTO, {}};
}

std::set<std::string> workers_of(const std::vector<Place>& places) {
  std::set<std::string> ids;
  for (const Place& place : places) ids.insert(place.worker_id);
  return ids;
}

TEST(Policy, AGangThatFitsOneWorkerGoesToTheOneWithLeastToSpare) {
  Placement placement({worker("big", 8), worker("exact", 2), worker("small", 1)});
  Wait wait;
  EXPECT_EQ(workers_of(placement.offer(demand(2), wait)), std::set<std::string>{"exact"});
}

TEST(Policy, AGangThatFitsNoOneWorkerTakesTheFewest) {
  Placement placement({worker("a", 1), worker("b", 2), worker("c", 3)});
  Wait wait;
  const std::vector<Place> places = placement.offer(demand(4), wait);
  ASSERT_EQ(places.size(), 4U);
  EXPECT_EQ(workers_of(places), (std::set<std::string>{"b", "c"}));
}

TEST(Policy, NoSlotIsGivenTwiceInOnePass) {
  Placement placement({worker("a", 2), worker("b", 2)});
  std::set<std::pair<std::string, uint32_t>> given;
  Wait wait;
  for (int i = 0; i < 4; ++i) {
    for (const Place& place : placement.offer(demand(1), wait))
      EXPECT_TRUE(given.emplace(place.worker_id, place.slot).second);
  }
  EXPECT_EQ(given.size(), 4U);
  EXPECT_TRUE(placement.offer(demand(1), wait).empty());
}

TEST(Policy, MemoryDeviceLabelsAndHealthDecideWhichSlotsCount) {
  WorkerSlots gpu = worker("gpu", 1, 100, true);
  gpu.labels["zone"] = "north";
  WorkerSlots sick = worker("sick", 1);
  sick.slots[0].healthy = false;
  Wait wait;
  Demand cuda = demand(1);
  cuda.device = v1::Resources::DEVICE_CUDA;
  EXPECT_EQ(workers_of(Placement({worker("cpu", 1), gpu}).offer(cuda, wait)), std::set<std::string>{"gpu"});
  Demand cpu = demand(1);
  cpu.device = v1::Resources::DEVICE_CPU;
  EXPECT_EQ(workers_of(Placement({gpu, worker("cpu", 1)}).offer(cpu, wait)), std::set<std::string>{"cpu"});
  Demand north = demand(1);
  north.labels["zone"] = "north";
  EXPECT_EQ(workers_of(Placement({worker("cpu", 1), gpu}).offer(north, wait)), std::set<std::string>{"gpu"});
  EXPECT_TRUE(Placement({worker("cpu", 1, 49), sick}).offer(demand(1, 50), wait).empty());
  EXPECT_EQ(Placement({worker("cpu", 1, 50)}).offer(demand(1, 50), wait).size(), 1U);
}

TEST(Policy, AWaitingGangKeepsWhatItCouldUseFromThoseBehindIt) {
  std::vector<WorkerSlots> fleet = {worker("a", 2), worker("tiny", 1, 20)};
  fleet[0].slots[0].free = false;
  Placement placement(fleet);
  Wait head;
  EXPECT_TRUE(placement.offer(demand(2), head).empty());
  EXPECT_EQ(head.kind, Wait::Kind::kSlots);
  EXPECT_EQ(head.fitting, 2U);
  EXPECT_EQ(head.free, 1U);
  Wait behind;
  EXPECT_TRUE(placement.offer(demand(1), behind).empty());
  EXPECT_EQ(behind.kind, Wait::Kind::kAhead);
  Wait small;
  EXPECT_EQ(workers_of(placement.offer(demand(1, 20), small)), std::set<std::string>{"tiny"});
}

TEST(Policy, AJobThatCanNeverFitKeepsNothingFromOthers) {
  Placement placement({worker("a", 2)});
  Wait never;
  EXPECT_TRUE(placement.offer(demand(3), never).empty());
  EXPECT_EQ(never.kind, Wait::Kind::kNeverFits);
  Wait next;
  EXPECT_EQ(placement.offer(demand(2), next).size(), 2U);
}

TEST(Policy, TheReasonIsInWordsWithFigures) {
  Wait wait;
  wait.position = 2;
  wait.queued = 3;
  wait.free = 1;
  wait.workers = 2;
  EXPECT_EQ(wait_message(demand(2, 412ULL << 20), wait, 0),
            "position 2 of 3; needs 2 slots of 412 MiB, 1 free on 2 workers");
  wait.kind = Wait::Kind::kNeverFits;
  wait.fitting = 1;
  wait.largest_bytes = 8ULL << 30;
  EXPECT_EQ(wait_message(demand(2, 1ULL << 30), wait, 0),
            "position 2 of 3; can never fit the fleet as it is: needs 2 slots of 1.0 GiB; 2 workers, even all idle, "
            "have 1 slot of that size, "
            "the largest of 8.0 GiB");
  wait.kind = Wait::Kind::kBackoff;
  wait.until_ms = 2'500;
  EXPECT_EQ(wait_message(demand(1), wait, 1'000), "position 2 of 3; tries again in 2 s");
}

}  // namespace
}  // namespace galleon::server
