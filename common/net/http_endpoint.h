// The small HTTP server beside every daemon: GET /metrics in Prometheus' text format, /livez and /readyz for probes.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace prometheus {
class Collectable;
}  // namespace prometheus

namespace galleon {

struct HttpEndpointOptions {
  std::string listen;         // "HOST:PORT", port 0 for any free one; beyond loopback only with `tls` or `plain_http`
  std::string tls;            // folder with cert.pem and key.pem: speaks HTTPS, and asks nobody for a certificate
  bool plain_http = false;    // without TLS beyond loopback too
  std::string metrics_token;  // file of the token that /metrics wants to be shown; empty: none
  // What /metrics serves, normally a prometheus::Registry. Collected on the endpoint's thread.
  std::shared_ptr<prometheus::Collectable> metrics;
  // OK, or why not in words: the body of a 503 on /readyz. Called on the endpoint's thread; empty: always ready.
  std::function<absl::Status()> ready;
  // The same for /livez: whether starting the process anew would help.
  std::function<absl::Status()> alive;
  // The same for /leaderz: whether this one serves, of several that may. Empty: there is no such path.
  std::function<absl::Status()> leads;
  size_t max_request_bytes = 8 << 10;          // longer requests get 431
  int max_connections = 32;                    // beyond, the oldest that has not asked yet makes room
  absl::Duration timeout = absl::Seconds(10);  // from accepting a connection to its last byte
};

// What the flags --metrics, --tls and --metrics-plain-http of a daemon say together: HTTP on loopback, HTTPS with the
// daemon's own certificate beyond, unless HTTP is asked for there.
void secure_endpoint(const std::string& tls_folder, bool plain_http, HttpEndpointOptions& options);

// One thread serves all connections; each carries one request. Listens from construction to destruction.
class HttpEndpoint {
 public:
  // FAILED_PRECONDITION: beyond loopback without TLS. UNAVAILABLE: the address is taken. Or why `tls` or
  // `metrics_token` cannot be used.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> start(HttpEndpointOptions options);
  ~HttpEndpoint();
  HttpEndpoint(const HttpEndpoint&) = delete;
  HttpEndpoint& operator=(const HttpEndpoint&) = delete;

  // The bound "HOST:PORT".
  const std::string& address() const;
  // With its scheme, "http" or "https".
  std::string url() const;

 private:
  class Server;
  explicit HttpEndpoint(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace galleon
