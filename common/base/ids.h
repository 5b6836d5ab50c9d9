// Random identifiers.
#pragma once

#include <string>

namespace galleon {

// `bytes` random bytes from the kernel as lower-case hexadecimal.
std::string random_hex(int bytes);

}  // namespace galleon
