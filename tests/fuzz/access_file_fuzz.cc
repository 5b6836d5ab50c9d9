// Any bytes as the file of --access: principals, or an error with the file's name.
#include "absl/strings/match.h"
#include "server/api/access.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using galleon::server::Access;
  const absl::StatusOr<Access> access = Access::parse({reinterpret_cast<const char*>(data), size}, "the file");
  if (!access.ok()) {
    if (!absl::StrContains(access.status().message(), "the file")) __builtin_trap();
    return 0;
  }
  // Whoever shows nothing is nobody.
  if (access->identify("", "").ok()) __builtin_trap();
  return 0;
}
