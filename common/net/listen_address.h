// Where a server listens, as given on a command line, and the ready file by which it tells others where it came up.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

struct ListenAddress {
  std::string host;   // without brackets
  uint16_t port = 0;  // 0: the kernel chooses
};

// Parses "HOST:PORT" or "[IPV6]:PORT". INVALID_ARGUMENT says what would be accepted.
absl::StatusOr<ListenAddress> parse_listen_address(absl::string_view text);

// "HOST:PORT", an IPv6 host in brackets.
std::string to_string(const ListenAddress& address);

// Only this machine can reach it: "localhost", 127.0.0.0/8, ::1.
bool is_loopback(const ListenAddress& address);

// A server without TLS stays on this machine. FAILED_PRECONDITION names the flag and a loopback address to give
// instead.
absl::Status require_loopback(const ListenAddress& address, absl::string_view flag);

// What a server says of itself once it serves.
struct ReadyFile {
  int64_t pid = 0;
  std::string listen;     // bound "HOST:PORT" of the service; left out when empty
  std::string metrics;    // bound "HOST:PORT" of the metrics endpoint; left out when empty
  std::string page = {};  // where a browser finds its page, with scheme; left out when empty
};

// Writes it as one JSON object; readers see all of it or nothing.
absl::Status write_ready_file(const std::string& path, const ReadyFile& ready);

}  // namespace galleon
