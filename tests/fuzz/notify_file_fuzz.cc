// Any bytes as the file of --notify: receivers, or an error with the file's name.
#include "absl/strings/match.h"
#include "server/notify/notify_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = galleon::server::parse_notify({reinterpret_cast<const char*>(data), size}, "the file");
  if (!config.ok()) return 0;
  for (const galleon::server::ReceiverConfig& receiver : config->receivers) {
    if (receiver.name.empty() || receiver.url.empty() || receiver.kinds.empty()) __builtin_trap();
  }
  return 0;
}
