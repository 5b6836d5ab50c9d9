#include "common/net/own_address.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "common/net/listen_address.h"

namespace galleon {

absl::StatusOr<std::string> own_address_towards(const std::string& server) {
  ASSIGN_OR_RETURN(ListenAddress address, parse_listen_address(server));
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (code != 0) return absl::UnavailableError(absl::StrCat(address.host, ": ", ::gai_strerror(code)));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> guard(found, &::freeaddrinfo);
  int error = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const FileDescriptor fd(::socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    char host[NI_MAXHOST];
    if (fd.valid() && ::connect(fd.get(), one->ai_addr, one->ai_addrlen) == 0 &&
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        ::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) == 0) {
      return std::string(host);
    }
    error = errno;
  }
  return absl::UnavailableError(absl::StrCat("no way to ", server, ": ", std::strerror(error)));
}

}  // namespace galleon
