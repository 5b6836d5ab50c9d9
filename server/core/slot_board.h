// The fleet's slots during one pass of the policy: which are free, who has a claim on them, and which could hold a rank
// of what size.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/core/demand.h"

namespace galleon::server {

// Workers with the same value of this label are near to each other.
inline constexpr char kRackLabel[] = "rack";

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();  // a time that does not come

struct Slot {
  uint32_t index = 0;
  uint64_t free_bytes = 0;  // what a rank may take when the slot is idle
  bool cuda = false;
  bool healthy = true;
  bool free = true;  // not leased, and its worker takes new work
};

struct WorkerSlots {
  std::string worker_id;
  std::map<std::string, std::string> labels;
  std::vector<Slot> slots;
};

struct Place {
  std::string worker_id;
  uint32_t slot = 0;
};

// Slots by their number on the board.
using Cells = std::vector<uint32_t>;

class SlotBoard {
 public:
  explicit SlotBoard(std::vector<WorkerSlots> fleet);

  struct Cell {
    uint32_t worker = 0;
    uint32_t index = 0;
    uint64_t bytes = 0;
    bool healthy = true;
    bool free = true;
    uint64_t holder = 0;          // number of the job that it is held for; 0: nobody
    int64_t keep_until = kNever;  // kept for a job ahead: only who is certain to be gone by then may use it
  };

  // Slots that a demand's device and labels accept, the largest first.
  struct Family {
    Cells cells;
    Cells free;                 // of them, those that are free
    uint64_t free_version = 0;  // of the board when `free` was made
  };
  // A demand's family; its number stays the same for equal devices and labels.
  size_t family(const Demand& demand);
  const Family& at(size_t family);

  // How many slots of a list that is ordered by size hold so many bytes.
  size_t fitting(const Cells& ordered, uint64_t bytes) const;
  // May the job use the free cell if it is certain to end by `ends_by`?
  bool usable(const Cell& cell, uint64_t number, int64_t ends_by) const {
    if (!cell.free || !cell.healthy) return false;
    return cell.holder != 0 ? cell.holder == number : cell.keep_until == kNever || ends_by <= cell.keep_until;
  }
  // Do these cells hold these ranks (both the largest first), one each?
  bool hold(const Cells& cells, const std::vector<uint64_t>& needs) const;

  const std::vector<Cell>& cells() const { return cells_; }
  const std::vector<WorkerSlots>& workers() const { return fleet_; }
  // -1: there is no such slot now.
  int64_t find(absl::string_view worker_id, uint32_t slot) const;
  Place place(uint32_t cell) const { return {fleet_[cells_[cell].worker].worker_id, cells_[cell].index}; }

  void take(uint32_t cell);
  void hold_for(uint32_t cell, uint64_t number) { cells_[cell].holder = number; }
  void keep(uint32_t cell, int64_t until) { cells_[cell].keep_until = std::min(cells_[cell].keep_until, until); }

 private:
  std::vector<WorkerSlots> fleet_;
  std::vector<Cell> cells_;
  std::vector<uint32_t> first_;  // cell of each worker
  std::unordered_map<std::string, uint32_t> by_id_;
  std::map<std::pair<int, std::map<std::string, std::string>>, size_t> known_;
  std::vector<Family> families_;
  uint64_t version_ = 1;
};

}  // namespace galleon::server
