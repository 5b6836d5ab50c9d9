// One pass over a fleet and queues that the test describes, shared by the tests of the policy.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <set>
#include <string>
#include <vector>

#include "server/core/pass.h"

namespace galleon::server {

struct SceneJob {
  uint32_t ranks = 1;
  uint64_t bytes = 50;
  size_t queue = 0;
  int32_t priority = 0;
  bool preemptible = true;
  int64_t limit_ms = kNever;
};

class Scene {
 public:
  explicit Scene(std::vector<QueueConfig> queues = {QueueConfig()}) {
    input.now_ms = 1'000'000;
    for (QueueConfig& queue : queues) input.queues.emplace_back().config = std::move(queue);
  }

  Scene& worker(const std::string& id, int slots, uint64_t bytes = 100) {
    WorkerSlots& entry = fleet.emplace_back();
    entry.worker_id = id;
    for (int i = 0; i < slots; ++i) entry.slots.push_back({static_cast<uint32_t>(i), bytes, false, true, true});
    return *this;
  }

  Scene& queued(const std::string& id, const SceneJob& job, std::vector<Place> held = {}) {
    ids_.push_back(id);
    Demand& demand = demands_.emplace_back();
    demand.rank_bytes.assign(job.ranks, job.bytes);
    input.queued.push_back(
        {++number_, &ids_.back(), job.queue, job.priority, job.preemptible, &demand, job.limit_ms, !held.empty(), {}});
    const SlotBoard board(fleet);
    for (const Place& place : held) {
      if (const int64_t cell = board.find(place.worker_id, place.slot); cell >= 0)
        input.queued.back().held.push_back(static_cast<uint32_t>(cell));
    }
    return *this;
  }
  // Takes the first free slots of a worker; `ends_in_ms` by its time limit.
  Scene& running(const std::string& id, const std::string& on, int slots, const SceneJob& job = {},
                 int64_t ends_in_ms = kNever, int64_t age_ms = 1000) {
    RunningJob& made = input.running.emplace_back();
    made.number = ++number_;
    ids_.push_back(id);
    made.job_id = &ids_.back();
    made.queue = job.queue;
    made.priority = job.priority;
    made.preemptible = job.preemptible;
    made.start_ms = input.now_ms - age_ms;
    if (ends_in_ms != kNever) made.ends_by_ms = input.now_ms + ends_in_ms;
    uint32_t cell = 0;
    for (WorkerSlots& worker : fleet) {
      for (Slot& slot : worker.slots) {
        if (worker.worker_id == on && slot.free && made.slots < static_cast<uint32_t>(slots)) {
          slot.free = false;
          ++made.slots;
          made.cells.push_back(cell);
        }
        ++cell;
      }
    }
    EXPECT_EQ(static_cast<int>(made.slots), slots);
    return *this;
  }

  Scene& decide() {
    input.board = SlotBoard(fleet);
    result = server::decide(input);
    started.clear();
    for (const PassResult::Start& start : result.starts) started.push_back(*input.queued[start.queued].job_id);
    std::set<std::pair<std::string, uint32_t>> given;
    for (const PassResult::Start& start : result.starts) {
      for (const Place& place : start.places) EXPECT_TRUE(given.emplace(place.worker_id, place.slot).second);
    }
    return *this;
  }
  std::set<std::string> victims() const {
    std::set<std::string> ids;
    for (const PassResult::Preemption& preemption : result.preemptions) {
      for (const size_t victim : preemption.victims) ids.insert(*input.running[victim].job_id);
    }
    return ids;
  }
  Wait::Kind why(size_t index) const { return result.waits[index].kind; }

  std::vector<WorkerSlots> fleet;
  PassInput input;
  PassResult result;
  std::vector<std::string> started;

 private:
  std::deque<std::string> ids_;
  std::deque<Demand> demands_;
  uint64_t number_ = 0;
};

}  // namespace galleon::server
