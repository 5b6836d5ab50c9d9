#include "server/core/placement.h"

#include <gtest/gtest.h>

#include <set>

namespace galleon::server {
namespace {

WorkerSlots worker(const std::string& id, int slots, uint64_t bytes = 100, const std::string& rack = "") {
  WorkerSlots entry{id, {}, {}};
  if (!rack.empty()) entry.labels[kRackLabel] = rack;
  for (int i = 0; i < slots; ++i) entry.slots.push_back({static_cast<uint32_t>(i), bytes, false, true, true});
  return entry;
}

Demand demand(uint32_t ranks, uint64_t bytes = 50) {
  Demand made;
  made.rank_bytes.assign(ranks, bytes);
  return made;
}

// The workers that the ranks go to, in rank order.
std::vector<std::string> placed(std::vector<WorkerSlots> fleet, const Demand& wanted) {
  SlotBoard board(std::move(fleet));
  std::vector<std::string> workers;
  for (const uint32_t cell : choose_cells(board, board.at(board.family(wanted)).free, wanted))
    workers.push_back(board.place(cell).worker_id);
  return workers;
}

std::set<std::string> set_of(const std::vector<std::string>& workers) {
  return {workers.begin(), workers.end()};
}

TEST(Placement, AGangThatFitsOneWorkerGoesToTheOneWithLeastToSpare) {
  EXPECT_EQ(set_of(placed({worker("big", 8), worker("exact", 2), worker("small", 1)}, demand(2))),
            std::set<std::string>{"exact"});
}

TEST(Placement, AGangThatFitsNoOneWorkerStaysInOneRackIfItCan) {
  EXPECT_EQ(
      set_of(placed({worker("a", 3, 100, "r1"), worker("b", 2, 100, "r2"), worker("c", 3), worker("d", 2, 100, "r2")},
                    demand(4))),
      (std::set<std::string>{"b", "d"}));
}

TEST(Placement, WithoutARackThatHoldsItAGangTakesTheFewestWorkers) {
  const std::vector<std::string> workers = placed({worker("a", 1), worker("b", 2), worker("c", 3)}, demand(4));
  EXPECT_EQ(workers, (std::vector<std::string>{"c", "c", "c", "b"}));
}

TEST(Placement, EachRankGetsASlotThatHoldsItsOwnMemory) {
  Demand uneven;
  uneven.rank_bytes = {20, 90, 20};
  SlotBoard board({worker("small", 2, 30), worker("large", 1, 100)});
  const Cells cells = choose_cells(board, board.at(board.family(uneven)).free, uneven);
  ASSERT_EQ(cells.size(), 3U);
  EXPECT_EQ(board.place(cells[1]).worker_id, "large");
  EXPECT_EQ(std::set<uint32_t>(cells.begin(), cells.end()).size(), 3U);
  uneven.rank_bytes = {90, 90, 20};
  EXPECT_TRUE(choose_cells(board, board.at(board.family(uneven)).free, uneven).empty());
}

TEST(Placement, ARankLeavesLargerSlotsToOthers) {
  WorkerSlots mixed = worker("w", 3);
  mixed.slots[0].free_bytes = 300;
  mixed.slots[2].free_bytes = 60;
  SlotBoard board({mixed});
  const Demand one = demand(1);
  EXPECT_EQ(board.place(choose_cells(board, board.at(board.family(one)).free, one)[0]).slot, 2U);
}

TEST(Placement, DeviceLabelsAndHealthDecideWhichSlotsCount) {
  WorkerSlots gpu = worker("gpu", 1);
  gpu.slots[0].cuda = true;
  gpu.labels["zone"] = "north";
  WorkerSlots sick = worker("sick", 1);
  sick.slots[0].healthy = false;
  Demand wanted = demand(1);
  wanted.device = v1::Resources::DEVICE_CUDA;
  EXPECT_EQ(placed({worker("cpu", 1), gpu}, wanted), std::vector<std::string>{"gpu"});
  wanted.device = v1::Resources::DEVICE_CPU;
  EXPECT_EQ(placed({gpu, worker("cpu", 1)}, wanted), std::vector<std::string>{"cpu"});
  wanted = demand(1);
  wanted.labels["zone"] = "north";
  EXPECT_EQ(placed({worker("cpu", 1), gpu}, wanted), std::vector<std::string>{"gpu"});
  EXPECT_TRUE(placed({worker("cpu", 1, 49), sick}, demand(1, 50)).empty());
}

TEST(Placement, RanksOfOneJobAreOfOneKindAndGpusComeFirst) {
  WorkerSlots mixed = worker("mixed", 4);
  mixed.slots[2].cuda = true;
  mixed.slots[3].cuda = true;
  SlotBoard board({mixed});
  const auto slots = [&board](const Demand& demand) {
    std::set<uint32_t> found;
    for (const uint32_t cell : choose_cells(board, board.at(board.family(demand)).free, demand))
      found.insert(board.place(cell).slot);
    return found;
  };
  const std::set<uint32_t> alone = slots(demand(1));
  EXPECT_TRUE(alone.contains(2) || alone.contains(3)) << "a GPU, whichever";
  EXPECT_EQ(slots(demand(2)), (std::set<uint32_t>{2, 3}));
  EXPECT_TRUE(slots(demand(3)).empty()) << "three slots of two kinds are no gang";
  mixed.slots[3].cuda = false;
  board = SlotBoard({mixed});
  const std::set<uint32_t> without_gpu = slots(demand(2));
  EXPECT_EQ(without_gpu.size(), 2U);
  EXPECT_FALSE(without_gpu.contains(2)) << "one GPU is too few for two ranks";
}

}  // namespace
}  // namespace galleon::server
