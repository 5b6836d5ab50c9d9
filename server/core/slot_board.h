// The fleet's slots during one pass of the policy: which are free, who has a claim on them, and which could hold a rank
// of what size.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
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
  bool open = true;  // its worker is neither cordoned nor drained
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

// What is the same from pass to pass, the workers and the order of their slots, is shared by copies or cheap to copy: a
// board is made when the fleet changes, and each pass marks up a copy of it.
class SlotBoard {
 public:
  SlotBoard() : SlotBoard(std::vector<WorkerSlots>()) {}
  explicit SlotBoard(std::vector<WorkerSlots> fleet);

  struct Cell {
    uint32_t worker = 0;
    uint32_t index = 0;
    uint64_t bytes = 0;
    bool cuda = false;
    bool healthy = true;
    bool free = true;
    bool open = true;
    uint64_t holder = 0;          // number of the job that it is held for; 0: nobody
    int64_t keep_until = kNever;  // kept for a job ahead: only who is certain to be gone by then may use it
  };

  // So many slots have at least so many bytes.
  struct Size {
    uint64_t bytes = 0;
    uint32_t count = 0;
  };
  // Slots that a demand's device and labels accept, the largest first.
  struct Family {
    Cells cells;
    std::vector<Size> sizes;  // of `cells`, descending
    Cells free;               // of them, those that are free
    std::vector<Size> free_sizes;
    Cells open;                 // of `cells`, those of workers that are neither cordoned nor drained
    uint64_t free_version = 0;  // of the board when `free` was made; 0: not made yet
  };
  // A demand's family; its number stays the same for equal devices and labels.
  size_t family(const Demand& demand);
  const Family& at(size_t family);

  // How many slots of a list that is ordered by size hold so many bytes.
  size_t fitting(const Cells& ordered, uint64_t bytes) const;
  static uint32_t fitting(const std::vector<Size>& sizes, uint64_t bytes);
  // May the job use the free cell if it is certain to end by `ends_by`?
  bool usable(const Cell& cell, uint64_t number, int64_t ends_by) const {
    if (!cell.free || !cell.healthy) return false;
    return cell.holder != 0 ? cell.holder == number : cell.keep_until == kNever || ends_by <= cell.keep_until;
  }
  // Do these cells hold these ranks (both the largest first), one each?
  bool hold(absl::Span<const uint32_t> cells, const std::vector<uint64_t>& needs) const;

  const std::vector<Cell>& cells() const { return cells_; }
  const std::vector<WorkerSlots>& workers() const { return fleet_->workers; }
  uint32_t first_cell(size_t worker) const { return fleet_->first[worker]; }
  // -1: there is no such slot now.
  int64_t find(absl::string_view worker_id, uint32_t slot) const;
  Place place(uint32_t cell) const { return {workers()[cells_[cell].worker].worker_id, cells_[cell].index}; }
  // Workers with the same value of the rack label have the same number; -1: without one.
  int32_t rack(uint32_t worker) const { return fleet_->racks[worker]; }

  // Before the first look at a family.
  void set_free(uint32_t cell, bool free, bool open) {
    cells_[cell].free = free;
    cells_[cell].open = open;
  }
  void take(uint32_t cell);
  void hold_for(uint32_t cell, uint64_t number) { cells_[cell].holder = number; }
  void keep(uint32_t cell, int64_t until) { cells_[cell].keep_until = std::min(cells_[cell].keep_until, until); }

 private:
  struct TextHash {
    using is_transparent = void;
    size_t operator()(absl::string_view text) const {
      return std::hash<std::string_view>()(std::string_view(text.data(), text.size()));
    }
  };
  struct TextEqual {
    using is_transparent = void;
    bool operator()(absl::string_view a, absl::string_view b) const { return a == b; }
  };
  struct Fleet {
    std::vector<WorkerSlots> workers;
    std::vector<uint32_t> first;  // cell of each worker
    std::vector<int32_t> racks;   // of each worker, numbered in the order of their names
    std::unordered_map<std::string, uint32_t, TextHash, TextEqual> by_id;
  };
  // Device and labels, compared without a copy of the labels.
  struct Kind {
    int device = 0;
    std::map<std::string, std::string> labels;
  };
  struct KindLess {
    using is_transparent = void;
    static std::pair<int, const std::map<std::string, std::string>&> key(const Kind& a) { return {a.device, a.labels}; }
    static std::pair<int, const std::map<std::string, std::string>&> key(const Demand& a) {
      return {static_cast<int>(a.device), a.labels};
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return key(a) < key(b);
    }
  };

  std::shared_ptr<const Fleet> fleet_;
  std::vector<Cell> cells_;
  std::map<Kind, size_t, KindLess> known_;
  std::vector<Family> families_;
  uint64_t version_ = 1;
};

}  // namespace galleon::server
