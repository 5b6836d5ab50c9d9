#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "figures.h"

namespace galleon::bench {

Folder::Folder() : path((std::filesystem::current_path() / absl::StrCat("bench-scheduler-", random_hex(6))).string()) {
  std::filesystem::create_directories(path);
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

v1::Job job_named(const std::string& name, uint32_t ranks) {
  v1::Job job;
  job.set_name(name);
  job.mutable_parallel()->set_ranks(ranks);
  job.mutable_shape()->set_architecture("llama");
  return job;
}

v1::MemoryPlan plan_of(uint32_t ranks, uint64_t bytes) {
  v1::MemoryPlan plan;
  for (uint32_t i = 0; i < ranks; ++i) plan.add_ranks()->set_peak_bytes(bytes);
  return plan;
}

v1::Worker worker_named(int number, uint32_t slots) {
  v1::Worker worker;
  worker.set_worker_id(absl::StrCat("w", number));
  worker.set_version("1");
  worker.set_incarnation(absl::StrCat("i", number));
  worker.set_slots(slots);
  (*worker.mutable_labels())["rack"] = absl::StrCat("r", number / 20);
  for (uint32_t i = 0; i < slots; ++i) {
    worker.add_devices()->set_free_memory_bytes((16ULL + 8 * (number % 4)) << 30);
    worker.mutable_devices(static_cast<int>(i))->set_healthy(true);
  }
  return worker;
}

}  // namespace galleon::bench
