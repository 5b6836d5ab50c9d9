#include "common/net/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"

namespace galleon {

namespace {

using Found = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Found look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) found = nullptr;
  return Found(found, ::freeaddrinfo);
}

absl::StatusOr<ListenSocket> listen_at(const addrinfo& at, const ListenAddress& wanted, int backlog) {
  const std::string name = to_string(wanted);
  sockaddr_storage storage{};
  std::memcpy(&storage, at.ai_addr, at.ai_addrlen);
  socklen_t length = at.ai_addrlen;
  const bool v4 = storage.ss_family == AF_INET;
  in_port_t& port =
      v4 ? reinterpret_cast<sockaddr_in&>(storage).sin_port : reinterpret_cast<sockaddr_in6&>(storage).sin6_port;
  port = htons(wanted.port);
  FileDescriptor socket(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return errno_status("cannot create a socket for", name, errno);
  const int on = 1;
  const int off = 0;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!v4) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0 ||
      ::listen(socket.get(), backlog) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0)
    return errno_status("cannot listen on", name, errno);
  return ListenSocket{std::move(socket), ListenAddress{wanted.host, ntohs(port)}};
}

}  // namespace

absl::StatusOr<ListenSocket> listen_tcp(const ListenAddress& wanted, int backlog) {
  if (wanted.host == "0.0.0.0") {
    // IPv4 is in it, where the kernel has IPv6 at all.
    if (const Found both = look_up("::"); both != nullptr) {
      absl::StatusOr<ListenSocket> made = listen_at(*both, wanted, backlog);
      if (made.ok()) return made;
    }
  }
  const Found found = look_up(wanted.host == "localhost" ? "127.0.0.1" : wanted.host);
  if (found == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("\"", wanted.host, "\" is not an address of this machine"));
  absl::Status status;
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    absl::StatusOr<ListenSocket> made = listen_at(*at, wanted, backlog);
    if (made.ok()) return made;
    status.Update(made.status());
  }
  return status;
}

}  // namespace galleon
