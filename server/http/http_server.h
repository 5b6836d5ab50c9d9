// The HTTP server in front of the services and the page. One thread carries all connections (Boost.Beast and Asio);
// what is bounded: headers, bodies, the time that each may take, connections in all and from one address, and how long
// somebody may let an answer wait.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/tls_watch.h"
#include "grpcpp/channel.h"

namespace galleon::server {

struct HttpOptions {
  std::string listen;                      // "HOST:PORT"; beyond loopback only with `certificates`
  const TlsWatch* certificates = nullptr;  // null: none there are. On loopback HTTP is spoken all the same
  bool anybody = false;                    // nobody has to say who they are
  std::shared_ptr<grpc::Channel> channel;  // into this process
  std::string inside;                      // ServiceContext::inside
  // AccessInForce::generation
  std::function<uint64_t()> access_generation = [] { return 0; };
  std::string version;
  uint32_t most_header = 16 << 10;  // bytes
  uint64_t most_body = 64 << 10;
  size_t most_connections = 1024;
  size_t most_of_address = 512;                    // from one IPv4 address or IPv6 /64
  absl::Duration patience = absl::Seconds(15);     // for a handshake, for a request, and between two
  absl::Duration slow_reader = absl::Seconds(20);  // for an answer, or an event, to be taken
  absl::Duration heartbeat = absl::Seconds(15);    // a comment in a stream of events that has nothing to say
};

class HttpServer {
 public:
  // FAILED_PRECONDITION: beyond loopback without certificates. UNAVAILABLE: the address is taken.
  static absl::StatusOr<std::unique_ptr<HttpServer>> start(HttpOptions options);
  // Closes all connections.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The bound "HOST:PORT", and with its scheme.
  const std::string& address() const;
  std::string url() const;

 private:
  class Listener;
  explicit HttpServer(std::unique_ptr<Listener> listener);
  std::unique_ptr<Listener> listener_;
};

}  // namespace galleon::server
