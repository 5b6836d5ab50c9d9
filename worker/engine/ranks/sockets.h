// TCP connections between ranks: made once, each pair one, before the first collective. They carry no TLS: who may
// speak is decided by a secret, what is said can be read by whoever sees the network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/files.h"
#include "worker/engine/ranks/rendezvous.h"

namespace galleon {

struct Listener {
  FileDescriptor socket;
  std::string address;  // "host:port", with a port that the kernel chose; IPv6 hosts in brackets
};
// `where`: an address or a name of this machine, or the name of an interface, whose first address is taken (IPv4 before
// IPv6). INVALID_ARGUMENT: it is none of these.
absl::StatusOr<Listener> listen_on(const std::string& where, const std::string& port = "0");

// A non-blocking connection to "host:port", from the address that `from` listens on if it is of the same family, so
// that traffic leaves by the interface that was chosen. UNAVAILABLE: nobody answers by `deadline`.
absl::StatusOr<FileDescriptor> connect_to(const std::string& address, const Listener* from, absl::Time deadline);

// The caller's side of a greeting (greeting.h); Reception is the other. UNAUTHENTICATED: who answers does not know the
// secret; UNAVAILABLE: it hung up, or is slower than `deadline`.
absl::Status greet(int fd, int rank, const std::string& secret, absl::Time deadline);

// What every connection between ranks is set to.
void prepare_connection(int fd);

// Whole pieces of bytes over a non-blocking connection, for what is said before the first collective. UNAVAILABLE.
absl::Status send_all(int fd, absl::string_view bytes, absl::Time deadline);
absl::StatusOr<std::string> receive_exactly(int fd, size_t bytes, absl::Time deadline);
// Whether the peer's machine has not answered for kSilence, although something is on its way to it. A peer that answers
// and only does not read is not meant.
inline constexpr absl::Duration kSilence = absl::Seconds(8);
bool network_is_cut(int fd);
// False: the deadline.
bool wait_for_socket(int fd, int16_t events, absl::Time deadline);

// Connects to every lower rank and accepts every higher one; each connection begins with a greeting by the called
// rank's secret, so that whoever does not know it is turned away. Returns non-blocking sockets by rank, none for this
// one. UNAVAILABLE names the ranks that could not be reached or did not call by `deadline`.
absl::StatusOr<std::vector<FileDescriptor>> connect_ranks(const Listener& listener, int rank,
                                                          const std::vector<RankOffer>& offers, absl::Time deadline);

}  // namespace galleon
