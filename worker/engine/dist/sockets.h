// TCP connections between ranks: made once, each pair one, before the first collective.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "worker/engine/dist/rendezvous.h"

namespace galleon {

struct Listener {
  FileDescriptor socket;
  std::string address;  // "host:port", with a port that the kernel chose; IPv6 hosts in brackets
};
// INVALID_ARGUMENT: `host` is not an address of this machine.
absl::StatusOr<Listener> listen_on(const std::string& host);

// Connects to every lower rank and accepts every higher one; each connection begins with a greeting that carries the
// called rank's secret, so that whoever does not know it is turned away. Returns non-blocking sockets by rank, none for
// this one. UNAVAILABLE names the ranks that could not be reached or did not call by `deadline`.
absl::StatusOr<std::vector<FileDescriptor>> connect_ranks(const Listener& listener, int rank,
                                                          const std::vector<RankOffer>& offers, absl::Time deadline);

}  // namespace galleon
