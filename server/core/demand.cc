#include "server/core/demand.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace galleon::server {

uint64_t Demand::largest() const {
  return rank_bytes.empty() ? 0 : *std::max_element(rank_bytes.begin(), rank_bytes.end());
}

uint64_t Demand::smallest() const {
  return rank_bytes.empty() ? 0 : *std::min_element(rank_bytes.begin(), rank_bytes.end());
}

std::vector<uint64_t> Demand::descending() const {
  std::vector<uint64_t> bytes = rank_bytes;
  std::sort(bytes.rbegin(), bytes.rend());
  return bytes;
}

Demand demand_of(const v1::Job& job, const v1::MemoryPlan& plan) {
  Demand demand;
  const uint32_t ranks = std::max<uint32_t>(1, job.parallel().has_ranks() ? job.parallel().ranks() : 1);
  demand.rank_bytes.assign(ranks, plan.process_base_bytes());
  for (int i = 0; i < plan.ranks_size() && i < static_cast<int>(ranks); ++i)
    demand.rank_bytes[i] += plan.ranks(i).peak_bytes();
  if (job.resources().has_device()) demand.device = job.resources().device();
  for (const auto& [key, value] : job.scheduling().labels()) demand.labels[key] = value;
  return demand;
}

std::string count_text(uint64_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string demand_text(const Demand& demand) {
  std::string text = absl::StrCat(count_text(demand.ranks(), "slot"), " of ");
  const std::string largest = bytes_text(demand.largest());
  const std::string smallest = bytes_text(demand.smallest());
  absl::StrAppend(&text, smallest == largest ? largest : absl::StrCat(smallest, " to ", largest));
  if (demand.device == v1::Resources::DEVICE_CPU) absl::StrAppend(&text, " on cpu");
  if (demand.device == v1::Resources::DEVICE_CUDA) absl::StrAppend(&text, " on cuda");
  if (!demand.labels.empty())
    absl::StrAppend(&text, " with labels ", absl::StrJoin(demand.labels, ", ", absl::PairFormatter("=")));
  return text;
}

std::string bytes_text(uint64_t bytes) {
  constexpr uint64_t kMiB = 1 << 20;
  if (bytes >= 10 * 1024 * kMiB) return absl::StrFormat("%.0f GiB", static_cast<double>(bytes) / (1024.0 * kMiB));
  if (bytes >= 1024 * kMiB) return absl::StrFormat("%.1f GiB", static_cast<double>(bytes) / (1024.0 * kMiB));
  return absl::StrCat((bytes + kMiB - 1) / kMiB, " MiB");
}

}  // namespace galleon::server
