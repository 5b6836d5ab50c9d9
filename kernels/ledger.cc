#include "kernels/ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace galleon {

absl::string_view category_name(MemoryCategory category) {
  switch (category) {
    case MemoryCategory::kWeights:
      return "weights";
    case MemoryCategory::kGradients:
      return "gradients";
    case MemoryCategory::kOptimizerStates:
      return "optimizer_states";
    case MemoryCategory::kSubspaces:
      return "subspaces";
    case MemoryCategory::kActivations:
      return "activations";
    case MemoryCategory::kWorkspace:
      return "workspace";
  }
  return "unknown";
}

absl::Status Ledger::reserve(absl::string_view name, MemoryCategory category, int64_t bytes) {
  GALLEON_CHECK(bytes >= 0) << std::string(name) << " asks for " << bytes << " bytes";
  if (limit_ > 0 && bytes > limit_ - total()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no room for ", bytes, " bytes of ", name, " (", category_name(category), "): the limit is ", limit_,
        " bytes, ", total(), " are in use, ", std::max<int64_t>(limit_ - total(), 0), " would have fitted",
        largest_text(), ". Raise the limit to at least ", total() + bytes, " bytes or make the job smaller."));
  }
  by_category_[static_cast<int>(category)] += bytes;
  peak_ = std::max(peak_, total());
  auto& held = held_[static_cast<int>(category)];
  const auto entry = held.find(name);
  if (entry == held.end()) {
    held.emplace(std::string(name), bytes);
  } else {
    entry->second += bytes;
  }
  return absl::OkStatus();
}

void Ledger::release(absl::string_view name, MemoryCategory category, int64_t bytes) {
  auto& held = held_[static_cast<int>(category)];
  const auto entry = held.find(name);
  GALLEON_CHECK(entry != held.end() && entry->second >= bytes)
      << std::string(name) << " gives back " << bytes << " bytes that it does not hold";
  by_category_[static_cast<int>(category)] -= bytes;
  entry->second -= bytes;
  if (entry->second == 0) held.erase(entry);
}

int64_t Ledger::total() const {
  int64_t sum = 0;
  for (const int64_t bytes : by_category_) sum += bytes;
  return sum;
}

std::vector<Ledger::Entry> Ledger::entries() const {
  std::vector<Entry> sorted;
  for (int category = 0; category < kMemoryCategories; ++category) {
    for (const auto& [name, bytes] : held_[category])
      sorted.push_back({name, static_cast<MemoryCategory>(category), bytes});
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Entry& a, const Entry& b) { return a.bytes > b.bytes; });
  return sorted;
}

std::string Ledger::largest_text() const {
  const std::vector<Entry> largest = entries();
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(largest.size(), 5); ++i) {
    absl::StrAppend(&text, i == 0 ? "; largest: " : ", ", largest[i].name, " (", category_name(largest[i].category),
                    ") ", largest[i].bytes);
  }
  return text;
}

}  // namespace galleon
