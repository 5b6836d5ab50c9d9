// Which paths a program that runs as root may write over.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace galleon {

// OK: nothing is there, or a regular file. FAILED_PRECONDITION: a folder, a device, a FIFO, a socket, a symbolic link;
// to rename over one or to remove it would harm more than the file that was meant.
absl::Status check_replaceable(const std::string& path);

}  // namespace galleon
