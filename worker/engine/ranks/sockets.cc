#include "worker/engine/ranks/sockets.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "worker/engine/ranks/greeting.h"
#include "worker/engine/ranks/reception.h"

namespace galleon {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

absl::StatusOr<Addresses> resolve(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (code != 0) return absl::InvalidArgumentError(absl::StrCat(host, ": ", ::gai_strerror(code)));
  return Addresses(found, &::freeaddrinfo);
}

// The first address of an interface of this name, or `where` itself.
std::string host_of(const std::string& where) {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return where;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> guard(all, &::freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
      if (where != entry->ifa_name || entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
      char host[NI_MAXHOST];
      const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      if (::getnameinfo(entry->ifa_addr, size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) == 0) return host;
    }
  }
  return where;
}

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof(value));
}

int milliseconds_until(absl::Time deadline) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()) + 1, 0, 60'000));
}

// False: there is no time left for another try.
bool pause_until(absl::Time deadline) {
  constexpr absl::Duration kPause = absl::Milliseconds(50);
  if (absl::Now() + kPause >= deadline) return false;
  absl::SleepFor(kPause);
  return true;
}

// Where the connections of a listener come from: its own address with any port. False: of another family.
bool leave_by(int fd, const Listener& from, int family) {
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  auto* name = reinterpret_cast<sockaddr*>(&own);
  if (::getsockname(from.socket.get(), name, &size) != 0 || own.ss_family != family) return false;
  if (family == AF_INET) reinterpret_cast<sockaddr_in*>(&own)->sin_port = 0;
  if (family == AF_INET6) reinterpret_cast<sockaddr_in6*>(&own)->sin6_port = 0;
  return ::bind(fd, name, size) == 0;
}

}  // namespace

// A host that is gone is noticed by the kernel while nothing is on its way to it; a rank that only takes its time is
// not taken for one, because its kernel answers. TCP_USER_TIMEOUT would not do: it also ends connections to a peer that
// answers but has not read for so long.
void prepare_connection(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 3);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
}

bool network_is_cut(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  const bool unanswered = (info.tcpi_unacked > 0 && info.tcpi_retransmits > 0) || info.tcpi_probes >= 3;
  return unanswered && absl::Milliseconds(info.tcpi_last_ack_recv) > kSilence;
}

bool wait_for_socket(int fd, int16_t events, absl::Time deadline) {
  while (true) {
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, milliseconds_until(deadline));
    if (ready > 0) return true;
    if (absl::Now() >= deadline) return false;
  }
}

absl::Status send_all(int fd, absl::string_view bytes, absl::Time deadline) {
  while (!bytes.empty()) {
    if (!wait_for_socket(fd, POLLOUT, deadline)) return absl::UnavailableError("it takes nothing");
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return absl::UnavailableError("it hung up");
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> receive_exactly(int fd, size_t bytes, absl::Time deadline) {
  std::string all(bytes, '\0');
  size_t got = 0;
  while (got < bytes) {
    if (!wait_for_socket(fd, POLLIN, deadline)) return absl::UnavailableError("it says nothing");
    const ssize_t n = ::recv(fd, all.data() + got, bytes - got, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return absl::UnavailableError("it hung up");
    if (n > 0) got += static_cast<size_t>(n);
  }
  return all;
}

absl::Status greet(int fd, int rank, const std::string& secret, absl::Time deadline) {
  const std::string hello = hello_of(rank);
  RETURN_IF_ERROR(send_all(fd, hello, deadline));
  absl::StatusOr<std::string> answer = receive_exactly(fd, kNonceBytes + kProofBytes, deadline);
  if (!answer.ok()) return answer.status();
  const std::string nonce = answer->substr(0, kNonceBytes);
  if (!same_proof(answer->substr(kNonceBytes), greeting_proof(secret, "called", hello, nonce)))
    return absl::UnauthenticatedError("who answers does not know this attempt's secret");
  return send_all(fd, greeting_proof(secret, "caller", hello, nonce), deadline);
}

absl::StatusOr<FileDescriptor> connect_to(const std::string& address, const Listener* from, absl::Time deadline) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return absl::UnavailableError(absl::StrCat("\"", address, "\" is not HOST:PORT"));
  std::string host = address.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
  absl::StatusOr<Addresses> found = resolve(host, address.substr(colon + 1), AI_NUMERICSERV);
  if (!found.ok()) return absl::UnavailableError(found.status().message());
  std::string reason = "no address";
  for (const addrinfo* one = found->get(); one != nullptr; one = one->ai_next) {
    FileDescriptor fd(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) continue;
    prepare_connection(fd.get());
    if (from != nullptr) leave_by(fd.get(), *from, one->ai_family);
    int error = ::connect(fd.get(), one->ai_addr, one->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      socklen_t size = sizeof(error);
      error = ETIMEDOUT;
      if (wait_for_socket(fd.get(), POLLOUT, deadline)) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return fd;
    reason = std::strerror(error);
  }
  return absl::UnavailableError(reason);
}

absl::StatusOr<Listener> listen_on(const std::string& where, const std::string& port) {
  const std::string host = host_of(where);
  absl::StatusOr<Addresses> found = resolve(host, port, AI_PASSIVE | AI_NUMERICSERV);
  if (!found.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(found.status().message(), "; an interface, an address or a name of this machine is accepted"));
  }
  const addrinfo& address = **found;
  Listener listener;
  listener.socket = FileDescriptor(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  auto* name = reinterpret_cast<sockaddr*>(&bound);
  if (listener.socket.valid()) set_option(listener.socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (!listener.socket.valid() || ::bind(listener.socket.get(), address.ai_addr, address.ai_addrlen) != 0 ||
      ::listen(listener.socket.get(), SOMAXCONN) != 0 || ::getsockname(listener.socket.get(), name, &size) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", where, ": ", std::strerror(errno)));
  }
  const uint16_t number = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                            : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  listener.address =
      absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", number) : absl::StrCat(host, ":", number);
  return listener;
}

absl::StatusOr<std::vector<FileDescriptor>> connect_ranks(const Listener& listener, int rank,
                                                          const std::vector<RankOffer>& offers, absl::Time deadline) {
  const int ranks = static_cast<int>(offers.size());
  std::vector<FileDescriptor> peers(offers.size());
  // Everyone listens already, so that calls are taken by the kernel whatever the order, and answered by rank 0 at once,
  // by the next as soon as rank 0 has answered it.
  for (int other = 0; other < rank; ++other) {
    absl::StatusOr<FileDescriptor> peer = absl::UnavailableError("nobody has answered yet");
    absl::Status met;
    do {
      peer = connect_to(offers[other].address, &listener, deadline);
      met = peer.status();
      if (met.ok()) met = greet(peer->get(), rank, offers[other].secret, deadline);
      // Who hangs up on us may have had too many callers at once; who is not there has ended.
    } while (peer.ok() && absl::IsUnavailable(met) && pause_until(deadline));
    if (!met.ok()) {
      return absl::UnavailableError(absl::StrCat("rank ", rank, " cannot reach rank ", other, " at ",
                                                 offers[other].address, ": ", met.message()));
    }
    peers[other] = *std::move(peer);
  }
  auto secret_of = [&](int other) {
    return other > rank && other < ranks && !peers[other].valid() ? offers[rank].secret : "";
  };
  Reception reception(listener.socket.get(), secret_of, false);
  for (int missing = ranks - 1 - rank; missing > 0; --missing) {
    std::optional<Caller> caller = reception.next(deadline);
    if (!caller) {
      std::vector<int> absent;
      for (int other = rank + 1; other < ranks; ++other) {
        if (!peers[other].valid()) absent.push_back(other);
      }
      return absl::UnavailableError(absl::StrCat(absent.size() == 1 ? "rank " : "ranks ", absl::StrJoin(absent, ", "),
                                                 " did not connect to rank ", rank, " at ", listener.address));
    }
    peers[caller->rank] = std::move(caller->socket);
  }
  return peers;
}

}  // namespace galleon
