// Known faults of the gRPC library that is there.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// What a caller without a credential can do to a server with this version of gRPC, such as "1.51.1", and where it is
// mended; empty: nothing is known. Faults that Galleon's own listener keeps away (CVE-2023-4785) are not among them.
std::string known_grpc_faults(absl::string_view version);

}  // namespace galleon
