// Any bytes as a safetensors file: it is refused, or every tensor that its header tells of can be read.
#include "tests/fuzz/fuzz_file.h"
#include "worker/engine/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const galleon::FuzzFile file(data, size);
  const absl::StatusOr<galleon::SafetensorsReader> reader = galleon::SafetensorsReader::open(file.path());
  if (!reader.ok()) return 0;
  for (const auto& [name, entry] : reader->entries()) {
    if (entry.begin < 0 || entry.end < entry.begin || entry.count() < 0) __builtin_trap();
    if (static_cast<size_t>(entry.end) > size) __builtin_trap();
    // No more numbers than the file has bytes, so that whoever makes room for them stays within its size.
    if (static_cast<size_t>(entry.count()) > size) __builtin_trap();
    std::vector<float> numbers(entry.count());
    const absl::Status status = reader->read(name, 0, entry.count(), numbers.data());
    const bool floating = entry.type == "F32" || entry.type == "F16" || entry.type == "BF16";
    if (floating != status.ok()) __builtin_trap();
    if (reader->read(name, 1, entry.count(), numbers.data()).ok() && floating) __builtin_trap();
  }
  return 0;
}
