#include "worker/engine/ranks/sockets.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

constexpr absl::string_view kMark = "galleon2";
constexpr size_t kNonceBytes = 16;
constexpr size_t kProofBytes = 32;
// What a caller says first: the mark, its rank as eight digits, its number.
constexpr size_t kHelloBytes = kMark.size() + 8 + kNonceBytes;

std::string draw_nonce() {
  return absl::HexStringToBytes(random_hex(kNonceBytes));
}

std::string proof(const std::string& secret, absl::string_view part, absl::string_view hello, absl::string_view nonce) {
  const std::string text = absl::StrCat(part, hello, nonce);
  std::array<unsigned char, kProofBytes> digest{};
  unsigned int size = 0;
  ::HMAC(::EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

bool same(absl::string_view one, absl::string_view other) {
  return one.size() == other.size() && ::CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

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

// A host that is gone is noticed by the kernel while nothing is on its way to it; a rank that only takes its time is
// not taken for one, because its kernel answers. TCP_USER_TIMEOUT would not do: it also ends connections to a peer that
// answers but has not read for so long.
void prepare(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 3);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
}

int milliseconds_until(absl::Time deadline) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()) + 1, 0, 60'000));
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
  const std::string hello = absl::StrCat(kMark, absl::Dec(rank, absl::kZeroPad8), draw_nonce());
  RETURN_IF_ERROR(send_all(fd, hello, deadline));
  absl::StatusOr<std::string> answer = receive_exactly(fd, kNonceBytes + kProofBytes, deadline);
  if (!answer.ok()) return answer.status();
  const std::string nonce = answer->substr(0, kNonceBytes);
  if (!same(answer->substr(kNonceBytes), proof(secret, "called", hello, nonce)))
    return absl::UnauthenticatedError("who answers does not know this attempt's secret");
  return send_all(fd, proof(secret, "caller", hello, nonce), deadline);
}

absl::StatusOr<int> answer_greeting(int fd, const std::function<std::string(int)>& secret_of, absl::Time deadline) {
  absl::StatusOr<std::string> hello = receive_exactly(fd, kHelloBytes, deadline);
  if (!hello.ok()) return hello.status();
  int rank = -1;
  const absl::string_view digits = absl::string_view(*hello).substr(kMark.size(), 8);
  const bool known = absl::StartsWith(*hello, kMark) && absl::SimpleAtoi(digits, &rank);
  const std::string secret = known ? secret_of(rank) : "";
  if (secret.empty()) return absl::UnauthenticatedError("a stranger called");
  const std::string nonce = draw_nonce();
  RETURN_IF_ERROR(send_all(fd, absl::StrCat(nonce, proof(secret, "called", *hello, nonce)), deadline));
  absl::StatusOr<std::string> shown = receive_exactly(fd, kProofBytes, deadline);
  if (!shown.ok()) return shown.status();
  if (!same(*shown, proof(secret, "caller", *hello, nonce)))
    return absl::UnauthenticatedError("who called does not know this attempt's secret");
  return rank;
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
    prepare(fd.get());
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
    absl::StatusOr<FileDescriptor> peer = connect_to(offers[other].address, &listener, deadline);
    absl::Status met = peer.status();
    if (met.ok()) met = greet(peer->get(), rank, offers[other].secret, deadline);
    if (!met.ok()) {
      return absl::UnavailableError(absl::StrCat("rank ", rank, " cannot reach rank ", other, " at ",
                                                 offers[other].address, ": ", met.message()));
    }
    peers[other] = *std::move(peer);
  }
  auto secret_of = [&](int other) {
    return other > rank && other < ranks && !peers[other].valid() ? offers[rank].secret : "";
  };
  for (int missing = ranks - 1 - rank; missing > 0;) {
    if (!wait_for_socket(listener.socket.get(), POLLIN, deadline)) {
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
    // A stranger gets two seconds, no more.
    absl::StatusOr<int> other =
        answer_greeting(peer.get(), secret_of, std::min(deadline, absl::Now() + absl::Seconds(2)));
    if (!other.ok()) continue;
    peers[*other] = std::move(peer);
    --missing;
  }
  return peers;
}

}  // namespace galleon
