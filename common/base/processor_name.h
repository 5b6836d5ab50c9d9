#pragma once

#include <string>

namespace galleon {

// The processor's name, "CPU" when the kernel does not say.
std::string processor_name();

}  // namespace galleon
