// Any bytes as a model.safetensors.index.json: refused by its name, or names of files beside it.
#include "worker/engine/checkpoint/weight_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<std::vector<std::string>> names =
      galleon::names_of_index({reinterpret_cast<const char*>(data), size}, "index");
  if (!names.ok()) {
    if (names.status().message().substr(0, 5) != "index") __builtin_trap();
    return 0;
  }
  if (names->empty()) __builtin_trap();
  for (const std::string& name : *names) {
    if (name.empty() || name == ".." || name.find('/') != std::string::npos) __builtin_trap();
    if (name.find('\0') != std::string::npos) __builtin_trap();
  }
  return 0;
}
