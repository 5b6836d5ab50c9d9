#include "common/base/ids.h"

#include <sys/random.h>

#include "absl/strings/escaping.h"
#include "common/base/check.h"

namespace galleon {

std::string random_hex(int bytes) {
  std::string raw(bytes, '\0');
  GALLEON_CHECK(getrandom(raw.data(), raw.size(), 0) == bytes) << "getrandom";
  return absl::BytesToHexString(raw);
}

}  // namespace galleon
