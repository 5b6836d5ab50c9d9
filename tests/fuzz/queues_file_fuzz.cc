// Any bytes as the file of --queues: queues within their bounds, or an error with the file's name.
#include "absl/strings/match.h"
#include "server/api/queue_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto queues = galleon::server::parse_queues({reinterpret_cast<const char*>(data), size}, "the file");
  if (!queues.ok()) {
    if (!absl::StrContains(queues.status().message(), "the file")) __builtin_trap();
    return 0;
  }
  for (const galleon::server::QueueConfig& queue : queues->queues) {
    if (queue.id.empty() || !(queue.weight > 0) || queue.half_life_ms < 0) __builtin_trap();
    for (const auto& [user, weight] : queue.user_weights) {
      if (!(weight > 0)) __builtin_trap();
    }
  }
  for (const galleon::server::ProjectQuota& quota : queues->projects) {
    if (quota.project.empty()) __builtin_trap();
  }
  return 0;
}
