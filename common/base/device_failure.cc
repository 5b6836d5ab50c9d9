#include "common/base/device_failure.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon {

void end_with_device_failure(absl::string_view what) {
  std::string line = absl::StrCat(kDeviceFailurePrefix, what);
  std::replace(line.begin(), line.end(), '\n', ' ');
  line += '\n';
  (void)write_all(STDERR_FILENO, line);
  ::_exit(kDeviceFailureExitCode);
}

}  // namespace galleon
