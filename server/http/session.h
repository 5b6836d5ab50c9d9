// One connection, over TCP or TLS.
#pragma once

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/http/api.h"
#include "server/http/error_json.h"
#include "server/http/exchange.h"
#include "server/http/http_server.h"

namespace galleon::server {

// What the listener knows of a connection.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  virtual void close() = 0;
  // It has asked for nothing, or for nothing more: it may make room.
  virtual bool idle() const = 0;
};

inline constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

template <typename Stream>
class Session final : public Connection, public Exchange, public std::enable_shared_from_this<Session<Stream>> {
 public:
  using Closed = std::function<void(Connection*)>;

  // `context`: of the TLS, kept as long as the connection; null: none.
  Session(Stream stream, std::string peer, std::shared_ptr<boost::asio::ssl::context> context,
          const HttpOptions& options, Api& api, Closed closed)
      : context_(std::move(context)),
        stream_(std::move(stream)),
        timer_(stream_.get_executor()),
        peer_(std::move(peer)),
        options_(options),
        api_(api),
        closed_(std::move(closed)) {}

  void start() override {
    if constexpr (kIsTls) {
      tcp().expires_after(time(options_.patience));
      stream_.async_handshake(boost::asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](const boost::system::error_code& error) {
                                if (error) return self->close();
                                self->read_request();
                              });
    } else {
      read_request();
    }
  }

  void close() override {
    if (std::exchange(is_closed_, true)) return;
    timer_.cancel();
    boost::system::error_code ignored;
    tcp().socket().shutdown(boost::asio::ip::tcp::socket::shutdown_both, ignored);
    tcp().close();
    if (gone_) std::exchange(gone_, nullptr)();
    closed_(this);
  }

  bool idle() const override { return !is_busy_; }

  void reply(HttpReply given) override {
    if (is_closed_) return;
    namespace http = boost::beast::http;
    auto message = std::make_shared<http::response<http::string_body>>();
    message->version(11);
    message->result(static_cast<unsigned>(given.status));
    set_common(*message);
    for (const auto& [name, value] : given.headers) message->set(name, value);
    const bool has_body = given.status != 304;
    if (has_body) {
      message->set(http::field::content_type, given.type);
      message->content_length(given.body.size());
    }
    message->keep_alive(keep_alive_);
    if (has_body && !is_head_) message->body() = std::move(given.body);
    tcp().expires_after(time(options_.slow_reader));
    auto serializer = std::make_shared<http::response_serializer<http::string_body>>(*message);
    http::async_write(
        stream_, *serializer,
        [self = this->shared_from_this(), message, serializer](const boost::system::error_code& error, size_t) {
          if (error || !self->keep_alive_) return self->end();
          self->is_busy_ = false;
          self->read_request();
        });
  }

  void begin_events(std::function<void()> gone) override {
    if (is_closed_) return gone();
    gone_ = std::move(gone);
    namespace http = boost::beast::http;
    http::response<http::empty_body> head;
    head.version(11);
    head.result(http::status::ok);
    set_common(head);
    head.set(http::field::content_type, "text/event-stream; charset=utf-8");
    head.set(http::field::cache_control, "no-store");
    // nginx would hold the events back.
    head.set("X-Accel-Buffering", "no");
    // It lasts until the connection ends.
    head.keep_alive(false);
    tcp().expires_never();
    last_write_ = Clock::now();
    std::string text = absl::StrCat("HTTP/1.1 200 OK\r\n");
    for (const auto& field : head) {
      absl::StrAppend(&text, std::string(field.name_string()), ": ", std::string(field.value()), "\r\n");
    }
    text += "\r\n";
    push(is_head_ ? text : std::move(text), [] {});
    if (is_head_) return end_after_writing();
    watch_for_end();
    tick();
  }

  void send_event(std::string text, std::function<void()> written) override {
    push(std::move(text), std::move(written));
  }

  void end_events(std::string text) override {
    gone_ = nullptr;
    push(std::move(text), [] {});
    end_after_writing();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr bool kIsTls = !std::is_same_v<Stream, boost::beast::tcp_stream>;

  boost::beast::tcp_stream& tcp() {
    if constexpr (kIsTls) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }
  static std::chrono::milliseconds time(absl::Duration duration) {
    return std::chrono::milliseconds(absl::ToInt64Milliseconds(duration));
  }

  template <typename Message>
  static void set_common(Message& message) {
    message.set("Content-Security-Policy", kPolicy);
    message.set("X-Content-Type-Options", "nosniff");
    message.set("X-Frame-Options", "DENY");
    message.set("Referrer-Policy", "no-referrer");
    message.set("Cross-Origin-Resource-Policy", "same-origin");
    message.set("Cross-Origin-Opener-Policy", "same-origin");
  }

  void read_request() {
    if (is_closed_) return;
    namespace http = boost::beast::http;
    parser_.emplace();
    parser_->header_limit(options_.most_header);
    parser_->body_limit(options_.most_body);
    tcp().expires_after(time(options_.patience));
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](const boost::system::error_code& error, size_t) {
                       self->take_request(error);
                     });
  }

  void take_request(const boost::system::error_code& error) {
    namespace http = boost::beast::http;
    if (is_closed_) return;
    is_busy_ = true;
    is_head_ = false;
    if (error == http::error::header_limit || error == http::error::body_limit) {
      const bool header = error == http::error::header_limit;
      return refuse(header ? 431 : 413,
                    absl::StrCat("a request with ", header ? "headers" : "a body", " of more than ",
                                 header ? options_.most_header : options_.most_body, " bytes is refused"));
    }
    if (error && error.category() == http::make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return refuse(400, "the request is not one of HTTP/1.1");
    }
    if (error) return end();
    const http::request<http::string_body>& message = parser_->get();
    keep_alive_ = message.keep_alive();
    HttpRequest request;
    request.verb = std::string(message.method_string());
    is_head_ = message.method() == http::verb::head;
    request.target = std::string(message.target());
    request.body = message.body();
    request.peer = peer_;
    for (const auto& field : message) {
      request.headers.emplace_back(absl::AsciiStrToLower(std::string(field.name_string())), std::string(field.value()));
    }
    tcp().expires_never();
    api_.handle(request, this->shared_from_this());
  }

  void refuse(int status, const std::string& message) {
    keep_alive_ = false;
    const HttpError error = http_error(status, absl::InvalidArgumentError(message));
    reply({error.status, "application/json", error.body});
  }

  void push(std::string text, std::function<void()> written) {
    if (is_closed_) return;
    waiting_.emplace_back(std::move(text), std::move(written));
    if (!is_writing_) write_next();
  }

  void write_next() {
    is_writing_ = true;
    last_write_ = Clock::now();
    boost::asio::async_write(stream_, boost::asio::buffer(waiting_.front().first),
                             [self = this->shared_from_this()](const boost::system::error_code& error, size_t) {
                               self->is_writing_ = false;
                               self->last_write_ = Clock::now();
                               if (error || self->is_closed_) return self->close();
                               const std::function<void()> written = std::move(self->waiting_.front().second);
                               self->waiting_.pop_front();
                               written();
                               if (self->is_closed_ || self->is_writing_) return;
                               if (!self->waiting_.empty()) return self->write_next();
                               if (self->ends_) self->end();
                             });
  }

  void end_after_writing() {
    ends_ = true;
    if (!is_writing_ && waiting_.empty()) end();
  }

  // Says that this is the end, and does not wait for what is said to it.
  void end() {
    if (is_closed_) return;
    boost::system::error_code ignored;
    if constexpr (kIsTls) {
      tcp().expires_after(std::chrono::seconds(2));
      stream_.async_shutdown([self = this->shared_from_this()](const boost::system::error_code&) { self->close(); });
    } else {
      tcp().socket().shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
      close();
    }
  }

  // Who listens to events has nothing more to say: it is read only to see it go.
  void watch_for_end() {
    stream_.async_read_some(boost::asio::buffer(unasked_),
                            [self = this->shared_from_this()](const boost::system::error_code& error, size_t n) {
                              self->unasked_bytes_ += n;
                              if (error || self->unasked_bytes_ > 4096) return self->close();
                              self->watch_for_end();
                            });
  }

  void tick() {
    timer_.expires_after(std::min(time(options_.slow_reader), time(options_.heartbeat)) / 4);
    timer_.async_wait([self = this->shared_from_this()](const boost::system::error_code& error) {
      if (error || self->is_closed_) return;
      const auto since = Clock::now() - self->last_write_;
      if (self->is_writing_ && since > time(self->options_.slow_reader)) return self->close();
      if (!self->is_writing_ && since > time(self->options_.heartbeat)) self->push(": here\n\n", [] {});
      self->tick();
    });
  }

  const std::shared_ptr<boost::asio::ssl::context> context_;
  Stream stream_;
  boost::asio::steady_timer timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  const std::string peer_;
  const HttpOptions& options_;
  Api& api_;
  const Closed closed_;
  std::function<void()> gone_;
  std::deque<std::pair<std::string, std::function<void()>>> waiting_;
  Clock::time_point last_write_;
  char unasked_[512];
  size_t unasked_bytes_ = 0;
  bool keep_alive_ = true;
  bool is_head_ = false;
  bool is_busy_ = false;
  bool is_writing_ = false;
  bool ends_ = false;
  bool is_closed_ = false;
};

}  // namespace galleon::server
