#include "server/http/http_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <list>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/net/listen_address.h"
#include "common/net/listen_socket.h"
#include "common/net/tls_folder.h"
#include "server/http/session.h"

namespace galleon::server {

namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using Context = std::shared_ptr<asio::ssl::context>;

constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kPauseWithoutDescriptors(100);

// The thread and what is to run on it. Calls into the services may answer after the server has gone.
struct Reactor {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
};

absl::StatusOr<Context> context_of(const TlsFolder& files) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  boost::system::error_code error;
  context->use_certificate_chain(asio::buffer(files.certificate), error);
  if (!error) context->use_private_key(asio::buffer(files.key), asio::ssl::context::pem, error);
  if (error)
    return absl::InvalidArgumentError(absl::StrCat("--tls: the certificate cannot be used: ", error.message()));
  return context;
}

// Who shares a bound: an IPv4 address, or the /64 of an IPv6 one.
std::string origin_of(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_string();
  const asio::ip::address_v6 v6 = address.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  const asio::ip::address_v6::bytes_type bytes = v6.to_bytes();
  return std::string(bytes.begin(), bytes.begin() + 8);
}

}  // namespace

class HttpServer::Listener {
 public:
  Listener(HttpOptions options, ListenSocket bound, Context context)
      : options_(std::move(options)),
        address_(to_string(bound.address)),
        context_(std::move(context)),
        reactor_(std::make_shared<Reactor>()),
        acceptor_(reactor_->io),
        pause_(reactor_->io),
        api_(api_options(bound.address)) {
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    ::getsockname(bound.socket.get(), reinterpret_cast<sockaddr*>(&storage), &length);
    acceptor_.assign(storage.ss_family == AF_INET ? Tcp::v4() : Tcp::v6(), bound.socket.release());
    accept();
    thread_ = std::thread([this] { reactor_->io.run(); });
  }

  ~Listener() {
    asio::post(reactor_->io, [this] {
      boost::system::error_code ignored;
      acceptor_.close(ignored);
      pause_.cancel();
      while (!connections_.empty()) connections_.front().connection->close();
      reactor_->io.stop();
    });
    thread_.join();
  }

  const std::string& address() const { return address_; }
  std::string url() const { return absl::StrCat(context_ == nullptr ? "http://" : "https://", address_, "/"); }

 private:
  struct Open {
    std::shared_ptr<Connection> connection;
    std::string origin;
  };

  Api::Options api_options(const ListenAddress& bound) {
    Api::Options made;
    made.version = options_.version;
    made.inside = options_.inside;
    made.channel = options_.channel;
    made.anybody = options_.anybody;
    made.loopback = is_loopback(bound);
    made.access_generation = options_.access_generation;
    made.post = [reactor = reactor_](std::function<void()> task) { asio::post(reactor->io, std::move(task)); };
    made.post_soon = [reactor = reactor_](std::function<void()> task) {
      auto timer = std::make_shared<asio::steady_timer>(reactor->io, std::chrono::milliseconds(200));
      timer->async_wait([timer, task = std::move(task)](const boost::system::error_code& error) {
        if (!error) task();
      });
    };
    return made;
  }

  void accept() {
    acceptor_.async_accept([this](const boost::system::error_code& error, Tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (!error) take(std::move(socket));
      if (error == asio::error::no_descriptors) {
        pause_.expires_after(kPauseWithoutDescriptors);
        pause_.async_wait([this](const boost::system::error_code& stopped) {
          if (!stopped) accept();
        });
        return;
      }
      accept();
    });
  }

  void take(Tcp::socket socket) {
    boost::system::error_code error;
    const Tcp::endpoint from = socket.remote_endpoint(error);
    if (error) return;
    const std::string origin = origin_of(from.address());
    if (of_origin_[origin] >= options_.most_of_address) make_room(&origin);
    if (connections_.size() >= options_.most_connections) make_room(nullptr);
    if (of_origin_[origin] >= options_.most_of_address || connections_.size() >= options_.most_connections) return;
    socket.set_option(Tcp::no_delay(true), error);
    renew();
    const std::string peer = absl::StrCat(from.address().to_string(), ":", from.port());
    const auto closed = [this](Connection* connection) { forget(connection); };
    std::shared_ptr<Connection> made;
    if (context_ != nullptr) {
      using Tls = boost::beast::ssl_stream<boost::beast::tcp_stream>;
      Tls stream(boost::beast::tcp_stream(std::move(socket)), *context_);
      made = std::make_shared<Session<Tls>>(std::move(stream), peer, context_, options_, api_, closed);
    } else {
      made = std::make_shared<Session<boost::beast::tcp_stream>>(boost::beast::tcp_stream(std::move(socket)), peer,
                                                                 nullptr, options_, api_, closed);
    }
    connections_.push_back({made, origin});
    ++of_origin_[origin];
    made->start();
  }

  // The oldest that asks for nothing goes; `origin`: of that one alone.
  void make_room(const std::string* origin) {
    const auto it = std::find_if(connections_.begin(), connections_.end(), [&](const Open& open) {
      return open.connection->idle() && (origin == nullptr || open.origin == *origin);
    });
    if (it != connections_.end()) it->connection->close();
  }

  void forget(Connection* connection) {
    const auto it = std::find_if(connections_.begin(), connections_.end(),
                                 [&](const Open& open) { return open.connection.get() == connection; });
    if (it == connections_.end()) return;
    if (const auto count = of_origin_.find(it->origin); --count->second == 0) of_origin_.erase(count);
    connections_.erase(it);
  }

  // Another certificate holds for who comes from now on.
  void renew() {
    if (context_ == nullptr) return;
    const TlsFolder files = options_.certificates->in_use();
    if (files.certificate == certificate_) return;
    certificate_ = files.certificate;
    absl::StatusOr<Context> made = context_of(files);
    if (made.ok()) {
      context_ = *std::move(made);
    } else {
      log_error(std::string(made.status().message()));
    }
  }

  const HttpOptions options_;
  const std::string address_;
  Context context_;  // null: plain HTTP
  std::string certificate_;
  const std::shared_ptr<Reactor> reactor_;
  Tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  Api api_;
  std::list<Open> connections_;
  std::map<std::string, size_t> of_origin_;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options) {
  ASSIGN_OR_RETURN(const ListenAddress address, parse_listen_address(options.listen));
  Context context;
  if (!is_loopback(address)) {
    if (options.certificates == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          "--http ", to_string(address), " would be open to other machines; give --tls FOLDER and --access, ",
          "or --http 127.0.0.1:", address.port));
    }
    ASSIGN_OR_RETURN(context, context_of(options.certificates->in_use()));
  }
  absl::StatusOr<ListenSocket> bound = listen_tcp(address, kBacklog);
  if (!bound.ok()) {
    return absl::UnavailableError(absl::StrCat("--http: cannot listen on ", to_string(address), " (",
                                               std::string(bound.status().message()), ")"));
  }
  return std::unique_ptr<HttpServer>(
      new HttpServer(std::make_unique<Listener>(std::move(options), *std::move(bound), std::move(context))));
}

HttpServer::HttpServer(std::unique_ptr<Listener> listener) : listener_(std::move(listener)) {}
HttpServer::~HttpServer() = default;

const std::string& HttpServer::address() const {
  return listener_->address();
}

std::string HttpServer::url() const {
  return listener_->url();
}

}  // namespace galleon::server
