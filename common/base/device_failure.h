// How a process ends whose accelerator has failed: with a code and a last line of their own, so that whoever started it
// can tell a broken device from a fault of the job.
#pragma once

#include "absl/strings/string_view.h"

namespace galleon {

// EX_IOERR of sysexits.h.
inline constexpr int kDeviceFailureExitCode = 74;
inline constexpr absl::string_view kDeviceFailurePrefix = "the device failed: ";

// Writes the prefix and `what` as one line to standard error and ends the process at once: nothing is destroyed, since
// giving back what lies on a lost device can block.
[[noreturn]] void end_with_device_failure(absl::string_view what);

}  // namespace galleon
