#include "worker/engine/dist/sockets.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

namespace galleon {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// What a caller says first.
struct Greeting {
  char mark[8] = {'g', 'a', 'l', 'l', 'e', 'o', 'n', '1'};
  uint32_t rank = 0;
  char secret[32] = {};
};

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

void set_option(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof(value));
}

// A host that is gone, or a network that is cut, is noticed by the kernel; a rank that only takes its time is not taken
// for one, because its kernel answers.
void prepare(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 60'000);
}

int milliseconds_until(absl::Time deadline) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()), 0, 60'000));
}

// Waits for one event of one socket. False: the deadline.
bool wait_for(int fd, int16_t events, absl::Time deadline) {
  while (true) {
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, milliseconds_until(deadline));
    if (ready > 0) return true;
    if (absl::Now() >= deadline) return false;
  }
}

bool write_greeting(int fd, const Greeting& greeting, absl::Time deadline) {
  const auto* at = reinterpret_cast<const char*>(&greeting);
  size_t left = sizeof(greeting);
  while (left > 0) {
    if (!wait_for(fd, POLLOUT, deadline)) return false;
    const ssize_t n = ::send(fd, at, left, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (n > 0) at += n, left -= static_cast<size_t>(n);
  }
  return true;
}

bool read_greeting(int fd, Greeting& greeting, absl::Time deadline) {
  auto* at = reinterpret_cast<char*>(&greeting);
  size_t left = sizeof(greeting);
  while (left > 0) {
    if (!wait_for(fd, POLLIN, deadline)) return false;
    const ssize_t n = ::recv(fd, at, left, 0);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return false;
    if (n > 0) at += n, left -= static_cast<size_t>(n);
  }
  return true;
}

Greeting greeting_of(int rank, const std::string& secret) {
  Greeting greeting;
  greeting.rank = static_cast<uint32_t>(rank);
  std::memcpy(greeting.secret, secret.data(), std::min(secret.size(), sizeof(greeting.secret)));
  return greeting;
}

absl::StatusOr<FileDescriptor> call(int own_rank, int rank, const RankOffer& offer, absl::Time deadline) {
  const size_t colon = offer.address.rfind(':');
  if (colon == std::string::npos) return absl::UnavailableError(absl::StrCat("rank ", rank, " offered no address"));
  std::string host = offer.address.substr(0, colon);
  if (absl::StartsWith(host, "[")) host = host.substr(1, host.size() - 2);
  absl::StatusOr<Addresses> found = resolve(host, offer.address.substr(colon + 1), AI_NUMERICSERV);
  if (!found.ok()) return absl::UnavailableError(absl::StrCat("rank ", rank, " at ", found.status().message()));
  std::string reason;
  for (const addrinfo* address = found->get(); address != nullptr; address = address->ai_next) {
    FileDescriptor fd(::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) continue;
    prepare(fd.get());
    int error = ::connect(fd.get(), address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      socklen_t size = sizeof(error);
      error = ETIMEDOUT;
      if (wait_for(fd.get(), POLLOUT, deadline)) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0 && write_greeting(fd.get(), greeting_of(own_rank, offer.secret), deadline)) return fd;
    reason = error == 0 ? "it hung up" : std::strerror(error);
  }
  return absl::UnavailableError(
      absl::StrCat("rank ", own_rank, " cannot reach rank ", rank, " at ", offer.address, ": ", reason));
}

}  // namespace

absl::StatusOr<Listener> listen_on(const std::string& host) {
  absl::StatusOr<Addresses> found = resolve(host, "0", AI_PASSIVE | AI_NUMERICSERV);
  if (!found.ok()) return found.status();
  const addrinfo& address = **found;
  Listener listener;
  listener.socket = FileDescriptor(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  auto* name = reinterpret_cast<sockaddr*>(&bound);
  if (!listener.socket.valid() || ::bind(listener.socket.get(), address.ai_addr, address.ai_addrlen) != 0 ||
      ::listen(listener.socket.get(), SOMAXCONN) != 0 || ::getsockname(listener.socket.get(), name, &size) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", host, ": ", std::strerror(errno)));
  }
  const uint16_t port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                          : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  listener.address = absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
  return listener;
}

absl::StatusOr<std::vector<FileDescriptor>> connect_ranks(const Listener& listener, int rank,
                                                          const std::vector<RankOffer>& offers, absl::Time deadline) {
  const int ranks = static_cast<int>(offers.size());
  std::vector<FileDescriptor> peers(offers.size());
  // Everyone listens already, so that calls are taken by the kernel whatever the order.
  for (int other = 0; other < rank; ++other) {
    absl::StatusOr<FileDescriptor> peer = call(rank, other, offers[other], deadline);
    if (!peer.ok()) return peer.status();
    peers[other] = *std::move(peer);
  }
  const Greeting expected = greeting_of(0, offers[rank].secret);
  for (int missing = ranks - 1 - rank; missing > 0;) {
    if (!wait_for(listener.socket.get(), POLLIN, deadline)) {
      std::vector<int> absent;
      for (int other = rank + 1; other < ranks; ++other) {
        if (!peers[other].valid()) absent.push_back(other);
      }
      return absl::UnavailableError(absl::StrCat(absent.size() == 1 ? "rank " : "ranks ", absl::StrJoin(absent, ", "),
                                                 " did not connect to rank ", rank, " at ", listener.address));
    }
    FileDescriptor peer(::accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer.valid()) continue;
    prepare(peer.get());
    Greeting greeting;
    // A stranger gets two seconds, no more.
    if (!read_greeting(peer.get(), greeting, std::min(deadline, absl::Now() + absl::Seconds(2)))) continue;
    const auto other = static_cast<int>(greeting.rank);
    const bool known = std::memcmp(greeting.mark, expected.mark, sizeof(expected.mark)) == 0 &&
                       std::memcmp(greeting.secret, expected.secret, sizeof(expected.secret)) == 0 && other > rank &&
                       other < ranks && !peers[other].valid();
    if (!known) continue;
    peers[other] = std::move(peer);
    --missing;
  }
  return peers;
}

}  // namespace galleon
