#include "common/net/http_endpoint.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/net/bearer_token.h"
#include "common/net/listen_socket.h"
#include "common/net/server_tls.h"
#include "prometheus/collectable.h"
#include "prometheus/text_serializer.h"

namespace galleon {

namespace {

struct Connection {
  FileDescriptor socket;
  std::unique_ptr<TlsSession> tls;  // null: none
  absl::Duration deadline;          // on the monotonic clock
  std::string request;
  std::string response;
  size_t written = 0;
  bool ended = false;

  // What to poll the socket for.
  short waits_for() const {
    if (tls != nullptr && tls->waits_for() != 0) return tls->waits_for();
    return response.empty() ? POLLIN : POLLOUT;
  }
  ssize_t read(char* data, size_t size) {
    return tls != nullptr ? tls->receive(data, size) : ::recv(socket.get(), data, size, 0);
  }
  ssize_t write_rest() {
    const char* data = response.data() + written;
    const size_t size = response.size() - written;
    return tls != nullptr ? tls->send(data, size) : ::send(socket.get(), data, size, MSG_NOSIGNAL);
  }
  void shut_down() {
    if (tls != nullptr) tls->shut_down();
    ::shutdown(socket.get(), SHUT_WR);
  }
};

std::string response_text(absl::string_view status, absl::string_view type, absl::string_view body, bool with_body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type, "\r\nContent-Length: ", body.size(),
                      "\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n", with_body ? body : "");
}

constexpr int kBacklog = 64;
constexpr absl::string_view kPlain = "text/plain; charset=utf-8";
constexpr absl::string_view kMetrics = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace

class HttpEndpoint::Server {
 public:
  Server(HttpEndpointOptions options, std::unique_ptr<ServerTls> tls, ListenSocket bound, FileDescriptor wake)
      : options_(std::move(options)),
        tls_(std::move(tls)),
        listener_(std::move(bound.socket)),
        address_(to_string(bound.address)),
        wake_(std::move(wake)),
        thread_([this] { serve(); }) {}

  ~Server() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
    thread_.join();
  }

  const std::string& address() const { return address_; }
  std::string url() const { return absl::StrCat(tls_ != nullptr ? "https://" : "http://", address_); }

 private:
  void serve() {
    while (true) {
      std::vector<pollfd> polled;
      polled.push_back({wake_.get(), POLLIN, 0});
      polled.push_back({can_accept() ? listener_.get() : -1, POLLIN, 0});
      for (const Connection& c : connections_) {
        polled.push_back({c.socket.get(), c.waits_for(), 0});
      }
      if (::poll(polled.data(), polled.size(), connections_.empty() ? -1 : 250) < 0 && errno != EINTR) {
        log_error("the metrics endpoint stopped: ", std::strerror(errno));
        return;
      }
      if (polled[0].revents != 0) return;
      const absl::Duration now = clock_.monotonic();
      size_t i = 2;
      for (Connection& c : connections_) {
        if (polled[i++].revents != 0) advance(c);
        if (now > c.deadline) c.ended = true;
      }
      connections_.remove_if([](const Connection& c) { return c.ended; });
      if (polled[1].revents != 0) accept_one(now);
    }
  }

  // Those that have asked for nothing yet make room, the oldest first, so that silence shuts nobody out.
  bool can_accept() const {
    return static_cast<int>(connections_.size()) < options_.max_connections ||
           std::any_of(connections_.begin(), connections_.end(),
                       [](const Connection& c) { return c.response.empty(); });
  }

  void make_room() {
    if (static_cast<int>(connections_.size()) < options_.max_connections) return;
    const auto silent =
        std::find_if(connections_.begin(), connections_.end(), [](const Connection& c) { return c.response.empty(); });
    if (silent != connections_.end()) connections_.erase(silent);
  }

  void accept_one(absl::Duration now) {
    FileDescriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket.valid()) {
      // Out of descriptors: the connection stays in the queue and poll would return at once, so wait a little.
      if (errno == EMFILE || errno == ENFILE) ::poll(nullptr, 0, 100);
      return;
    }
    make_room();
    Connection connection;
    connection.socket = std::move(socket);
    connection.deadline = now + options_.timeout;
    if (tls_ != nullptr && (connection.tls = tls_->accept(connection.socket.get())) == nullptr) return;
    connections_.push_back(std::move(connection));
  }

  void advance(Connection& c) {
    if (c.response.empty()) {
      receive(c);
    }
    while (!c.ended && c.written < c.response.size()) {
      const ssize_t n = c.write_rest();
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (n <= 0) {
        c.ended = true;
        return;
      }
      c.written += n;
    }
    if (!c.response.empty() && c.written == c.response.size()) {
      c.shut_down();
      c.ended = true;
    }
  }

  void receive(Connection& c) {
    char buffer[4096];
    while (true) {
      const ssize_t n = c.read(buffer, sizeof(buffer));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
      if (n <= 0) {
        c.ended = true;
        return;
      }
      c.request.append(buffer, n);
      if (c.request.find("\r\n\r\n") != std::string::npos || c.request.find("\n\n") != std::string::npos) {
        c.response = answer(c.request);
        return;
      }
      if (c.request.size() > options_.max_request_bytes) {
        c.response = response_text(
            "431 Request Header Fields Too Large", kPlain,
            absl::StrCat("a request of more than ", options_.max_request_bytes, " bytes is refused\n"), true);
        return;
      }
    }
  }

  std::string answer(absl::string_view request) const {
    const absl::string_view line = request.substr(0, request.find_first_of("\r\n"));
    const size_t first = line.find(' ');
    const size_t second = first == absl::string_view::npos ? first : line.find(' ', first + 1);
    if (second == absl::string_view::npos || !absl::StartsWith(line.substr(second + 1), "HTTP/1.")) {
      return response_text("400 Bad Request", kPlain, "the first line must be GET PATH HTTP/1.1\n", true);
    }
    const absl::string_view method = line.substr(0, first);
    absl::string_view path = line.substr(first + 1, second - first - 1);
    path = path.substr(0, path.find('?'));
    const bool with_body = method != "HEAD";
    if (method != "GET" && method != "HEAD") {
      return response_text("405 Method Not Allowed", kPlain, "only GET and HEAD are served here\n", true);
    }
    if (path == "/metrics") {
      if (const absl::Status shown = shows_token(request); !shown.ok()) return refuse_reader(shown);
      if (options_.metrics == nullptr) return response_text("200 OK", kMetrics, "", with_body);
      return response_text("200 OK", kMetrics, prometheus::TextSerializer().Serialize(options_.metrics->Collect()),
                           with_body);
    }
    const bool of_several = options_.leads != nullptr;
    if (path == "/livez" || path == "/readyz" || (path == "/leaderz" && of_several)) {
      const std::function<absl::Status()>& asked = path == "/livez"    ? options_.alive
                                                   : path == "/readyz" ? options_.ready
                                                                       : options_.leads;
      const absl::Status status = asked ? asked() : absl::OkStatus();
      if (status.ok()) return response_text("200 OK", kPlain, "ok\n", with_body);
      return response_text("503 Service Unavailable", kPlain,
                           absl::StrCat(absl::string_view(status.message().data(), status.message().size()), "\n"),
                           with_body);
    }
    return response_text("404 Not Found", kPlain,
                         absl::StrCat("served here: /metrics, /livez, /readyz", of_several ? ", /leaderz" : "", "\n"),
                         with_body);
  }

  absl::Status shows_token(absl::string_view request) const {
    return options_.metrics_token.empty() ? absl::OkStatus() : BearerToken(options_.metrics_token).shown_in(request);
  }

  static std::string refuse_reader(const absl::Status& status) {
    const std::string body = absl::StrCat(std::string(status.message()), "\n");
    if (absl::IsUnauthenticated(status))
      return response_text("401 Unauthorized\r\nWWW-Authenticate: Bearer", kPlain, body, true);
    log_error("--metrics-token: ", std::string(status.message()));
    return response_text("503 Service Unavailable", kPlain, "the token cannot be read; the log says why\n", true);
  }

  const HttpEndpointOptions options_;
  const std::unique_ptr<ServerTls> tls_;  // null: plain HTTP
  const SystemClock clock_;
  const FileDescriptor listener_;
  const std::string address_;
  const FileDescriptor wake_;
  std::list<Connection> connections_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::start(HttpEndpointOptions options) {
  ASSIGN_OR_RETURN(ListenAddress address, parse_listen_address(options.listen));
  if (options.tls.empty() && !options.plain_http && !is_loopback(address)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--metrics ", to_string(address), " would be open to other machines; give --tls FOLDER for HTTPS, ",
        "--metrics-plain-http where the network itself is closed, or --metrics 127.0.0.1:", address.port));
  }
  if (!options.metrics_token.empty()) RETURN_IF_ERROR(BearerToken(options.metrics_token).check());
  std::unique_ptr<ServerTls> tls;
  if (!options.tls.empty()) {
    ASSIGN_OR_RETURN(tls, ServerTls::load(options.tls));
  }
  ASSIGN_OR_RETURN(ListenSocket bound, listen_tcp(address, kBacklog));
  FileDescriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return errno_status("cannot create an event descriptor for", options.listen, errno);
  auto server = std::make_unique<Server>(std::move(options), std::move(tls), std::move(bound), std::move(wake));
  return std::unique_ptr<HttpEndpoint>(new HttpEndpoint(std::move(server)));
}

void secure_endpoint(const std::string& tls_folder, bool plain_http, HttpEndpointOptions& options) {
  const absl::StatusOr<ListenAddress> address = parse_listen_address(options.listen);
  options.plain_http = plain_http;
  options.tls = plain_http || (address.ok() && is_loopback(*address)) ? "" : tls_folder;
}

HttpEndpoint::HttpEndpoint(std::unique_ptr<Server> server) : server_(std::move(server)) {}
HttpEndpoint::~HttpEndpoint() = default;

const std::string& HttpEndpoint::address() const {
  return server_->address();
}

std::string HttpEndpoint::url() const {
  return server_->url();
}

}  // namespace galleon
