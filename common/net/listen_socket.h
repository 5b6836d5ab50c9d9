// A TCP socket that listens.
#pragma once

#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "common/net/listen_address.h"

namespace galleon {

struct ListenSocket {
  FileDescriptor socket;  // does not block
  ListenAddress address;  // with the port that the kernel chose
};

// `host`: an address or a name of this machine; 0.0.0.0 and :: stand for all of both kinds. INVALID_ARGUMENT: it is
// none; UNAVAILABLE: it is taken.
absl::StatusOr<ListenSocket> listen_tcp(const ListenAddress& wanted, int backlog);

}  // namespace galleon
