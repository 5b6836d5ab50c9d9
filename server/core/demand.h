// What a job asks of the fleet.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "galleon/v1/job.pb.h"
#include "galleon/v1/plan.pb.h"

namespace galleon::server {

struct Demand {
  // Bytes that each rank takes: its planned peak, and what its process takes beside it.
  std::vector<uint64_t> rank_bytes;
  v1::Resources::Device device = v1::Resources::DEVICE_AUTO;
  std::map<std::string, std::string> labels;  // that a worker must have

  uint32_t ranks() const { return static_cast<uint32_t>(rank_bytes.size()); }
  uint64_t largest() const;
  uint64_t smallest() const;
  // All ranks' bytes, the largest first.
  std::vector<uint64_t> descending() const;
};

Demand demand_of(const v1::Job& job, const v1::MemoryPlan& plan);

// "2 slots of 412 MiB on cuda with labels zone=a".
std::string demand_text(const Demand& demand);
// "412 MiB", "1.5 GiB"; never less than there is.
std::string bytes_text(uint64_t bytes);
// "1 slot", "2 slots".
std::string count_text(uint64_t count, const char* noun);

}  // namespace galleon::server
