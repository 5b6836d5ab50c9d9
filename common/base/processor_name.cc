#include "common/base/processor_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/base/reach.h"

namespace galleon {

std::string processor_name() {
  const absl::StatusOr<std::string> text = read_system_file("/proc/cpuinfo");
  if (text.ok()) {
    for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
      if (!absl::StartsWith(line, "model name")) continue;
      const size_t colon = line.find(':');
      if (colon != absl::string_view::npos) return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "CPU";
}

}  // namespace galleon
