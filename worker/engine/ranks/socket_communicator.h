// Ranks over TCP.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/ranks/communicator.h"
#include "worker/engine/ranks/rendezvous.h"

namespace galleon {

struct SocketOptions {
  // Interface, address or name of this machine that this rank listens on, is reached at by the others, and calls from.
  std::string interface = "127.0.0.1";
  absl::Duration meeting_timeout = absl::Seconds(60);
  // An exchange in which nothing moves for so long fails the run: some rank hangs. A rank that has ended is noticed at
  // once, and a host that cannot be reached any more within ten seconds, whatever this is.
  absl::Duration hang_timeout = absl::Minutes(10);
};

// Whether it is the ranks' not meeting that a status tells of: machines and the network between them are to blame for
// that, not what the ranks were to compute.
bool did_not_meet(const absl::Status& status);

// A collective: all ranks meet, compare who they are, and connect, each pair once. FAILED_PRECONDITION: they do not
// belong together (check_identities). UNAVAILABLE: ranks did not come or could not be reached in time, with their
// names.
absl::StatusOr<std::unique_ptr<Communicator>> make_socket_communicator(Device& device, int rank, int ranks,
                                                                       Rendezvous& rendezvous,
                                                                       const RankIdentity& identity,
                                                                       const SocketOptions& options);

}  // namespace galleon
