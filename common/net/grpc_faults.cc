#include "common/net/grpc_faults.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace galleon {

namespace {

struct Version {
  int minor = 0;
  int patch = 0;
};

// Of gRPC 1.
bool parse(absl::string_view text, Version& version) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  if (parts.size() < 2 || parts[0] != "1" || !absl::SimpleAtoi(parts[1], &version.minor)) return false;
  // "1.60.0-pre1".
  if (parts.size() > 2) (void)absl::SimpleAtoi(parts[2].substr(0, parts[2].find('-')), &version.patch);
  return true;
}

// Headers that end the server: mended in 1.53.0.
bool aborts_on_headers(const Version& v) {
  return v.minor < 53;
}

// Headers without a bound of memory and time: mended in 1.53.2, 1.54.3, 1.55.2 and 1.56.2.
bool reads_headers_without_bound(const Version& v) {
  constexpr int kFirstMended = 53;
  constexpr int kMendedPatch[] = {2, 3, 2, 2};
  if (v.minor < kFirstMended) return true;
  const auto branch = static_cast<size_t>(v.minor - kFirstMended);
  return branch < std::size(kMendedPatch) && v.patch < kMendedPatch[branch];
}

}  // namespace

std::string known_grpc_faults(absl::string_view version) {
  Version parsed;
  if (!parse(version, parsed)) return "";
  std::vector<std::string> faults;
  if (aborts_on_headers(parsed)) faults.emplace_back("crafted headers end it (CVE-2023-1428)");
  if (reads_headers_without_bound(parsed)) faults.emplace_back("headers cost seconds and memory (CVE-2023-33953)");
  if (faults.empty()) return "";
  return absl::StrCat("gRPC ", version, " has known faults: ", absl::StrJoin(faults, ", "),
                      "; let only machines that you trust reach the port, or build with 1.56.2 or later");
}

}  // namespace galleon
