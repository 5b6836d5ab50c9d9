// Every byte of device memory has a name and a category. The planning device, the metrics and the final report read the
// same ledger.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

enum class MemoryCategory { kWeights, kGradients, kOptimizerStates, kSubspaces, kActivations, kWorkspace };
inline constexpr int kMemoryCategories = 6;
// "weights", "gradients", "optimizer_states", "subspaces", "activations", "workspace".
absl::string_view category_name(MemoryCategory category);

class Ledger {
 public:
  struct Entry {
    std::string name;
    MemoryCategory category;
    int64_t bytes;
  };

  // A hard limit on the sum of all categories, in bytes; 0 is none.
  void set_limit(int64_t bytes) { limit_ = bytes; }
  int64_t limit() const { return limit_; }

  // RESOURCE_EXHAUSTED beyond the limit; the message names the request, the largest entries and what would have fitted.
  absl::Status reserve(absl::string_view name, MemoryCategory category, int64_t bytes);
  void release(absl::string_view name, MemoryCategory category, int64_t bytes);

  int64_t bytes(MemoryCategory category) const { return by_category_[static_cast<int>(category)]; }
  int64_t total() const;
  int64_t peak() const { return peak_; }
  // Largest first; equal ones by category and name.
  std::vector<Entry> entries() const;
  // "; largest: embedding (weights) 600, …" of at most five entries; empty where nothing is held.
  std::string largest_text() const;

 private:
  std::array<int64_t, kMemoryCategories> by_category_{};
  int64_t peak_ = 0;
  int64_t limit_ = 0;
  // Bytes by name. A planned run of thousands of layers has tens of thousands of them.
  std::array<std::map<std::string, int64_t, std::less<>>, kMemoryCategories> held_;
};

}  // namespace galleon
