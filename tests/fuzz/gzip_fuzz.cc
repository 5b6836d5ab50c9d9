// Any bytes as a packed file: however they are read, in bounded memory, the same text or the same error comes out.
#include <algorithm>
#include <cstdint>
#include <string>

#include "worker/engine/data/input_stream.h"

namespace {

constexpr size_t kMost = 1 << 16;  // bytes that are unpacked

struct Outcome {
  std::string text;
  bool sound = false;
  bool operator==(const Outcome&) const = default;
};

Outcome unpacked(absl::string_view bytes, size_t chunk) {
  Outcome outcome;
  absl::StatusOr<std::unique_ptr<galleon::InputStream>> stream = galleon::open_input_bytes(bytes, "input");
  if (!stream.ok()) return outcome;
  std::string buffer(chunk, '\0');
  while (outcome.text.size() < kMost) {
    const absl::StatusOr<size_t> count = (*stream)->read(buffer.data(), std::min(chunk, kMost - outcome.text.size()));
    if (!count.ok()) return outcome;
    if (*count > chunk) __builtin_trap();
    if (*count == 0) break;
    outcome.text.append(buffer, 0, *count);
  }
  outcome.sound = true;
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome large = unpacked(bytes, 1 << 16);
  const Outcome small = unpacked(bytes, 7);
  if (large.sound != small.sound || (large.sound && large.text != small.text)) __builtin_trap();
  return 0;
}
