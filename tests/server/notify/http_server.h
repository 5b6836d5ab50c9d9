// A web server on loopback, in the test's process: it takes requests one after the other and answers as it is told.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"
#include "common/net/server_tls.h"
#include "tests/patience.h"

namespace galleon {

class HttpServer {
 public:
  struct Request {
    std::string path;
    std::map<std::string, std::string> headers;  // in small letters
    std::string body;
    nlohmann::json json() const { return nlohmann::json::parse(body); }
  };
  // What is answered to a request: a status, or kNever, or kHangUp.
  static constexpr int kNever = -1;
  static constexpr int kHangUp = -2;
  using Answer = std::function<int(const Request&)>;

  // `tls`: a folder with a certificate; empty: HTTP. `port` 0: any free one.
  explicit HttpServer(Answer answer, const std::string& tls = "", int port = 0) : answer_(std::move(answer)) {
    if (!tls.empty()) {
      auto loaded = ServerTls::load(tls);
      EXPECT_TRUE(loaded.ok()) << loaded.status();
      tls_ = *std::move(loaded);
    }
    listener_ = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int reuse = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    ends_ = true;
    thread_.join();
  }

  std::string url(const std::string& path = "/hook") const {
    return absl::StrCat(tls_ == nullptr ? "http" : "https", "://127.0.0.1:", port_, path);
  }
  int port() const { return port_; }
  std::vector<Request> requests() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }
  // Those that were answered 2xx.
  std::vector<Request> taken() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return taken_;
  }
  bool takes(size_t count) const {
    return eventually([this, count] { return taken().size() >= count; });
  }

 private:
  bool readable(int fd) const {
    pollfd ready{fd, POLLIN, 0};
    while (!ends_) {
      if (::poll(&ready, 1, 20) > 0) return true;
    }
    return false;
  }

  void serve() {
    while (readable(listener_.get())) {
      const FileDescriptor connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      const std::unique_ptr<TlsSession> session = tls_ == nullptr ? nullptr : tls_->accept(connection.get());
      converse(connection.get(), session.get());
    }
  }

  void converse(int fd, TlsSession* session) {
    std::string text;
    char piece[4096];
    size_t length = std::string::npos;
    size_t begin = 0;
    while (length == std::string::npos || text.size() < begin + length) {
      if (!readable(fd)) return;
      const ssize_t size =
          session == nullptr ? ::recv(fd, piece, sizeof(piece), 0) : session->receive(piece, sizeof(piece));
      if (size <= 0) return;
      text.append(piece, static_cast<size_t>(size));
      if (length == std::string::npos && text.find("\r\n\r\n") != std::string::npos) {
        begin = text.find("\r\n\r\n") + 4;
        const std::string told = parsed(text.substr(0, begin)).headers["content-length"];
        length = told.empty() ? 0 : std::stoul(told);  // a GET has none
      }
    }
    Request request = parsed(text.substr(0, begin));
    request.body = text.substr(begin);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      requests_.push_back(request);
    }
    const int status = answer_(request);
    if (status == kHangUp) return;
    if (status == kNever) {
      (void)readable(fd);  // until the caller gives up
      return;
    }
    if (status >= 200 && status < 300) {
      const std::lock_guard<std::mutex> lock(mutex_);
      taken_.push_back(request);
    }
    const std::string answer = absl::StrCat("HTTP/1.1 ", status,
                                            " X\r\nLocation: /elsewhere\r\nConnection: close\r\n"
                                            "Content-Length: 2\r\n\r\nok");
    if (session == nullptr) {
      ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
    } else {
      session->send(answer.data(), answer.size());
      session->shut_down();
    }
  }

  static Request parsed(const std::string& head) {
    Request request;
    const std::vector<std::string> lines = absl::StrSplit(head, "\r\n");
    const std::vector<std::string> first = absl::StrSplit(lines[0], ' ');
    request.path = first.size() > 1 ? first[1] : "";
    for (size_t i = 1; i < lines.size(); ++i) {
      const std::vector<std::string> pair = absl::StrSplit(lines[i], absl::MaxSplits(": ", 1));
      if (pair.size() == 2) request.headers[absl::AsciiStrToLower(pair[0])] = pair[1];
    }
    return request;
  }

  const Answer answer_;
  std::unique_ptr<ServerTls> tls_;
  FileDescriptor listener_;
  int port_ = 0;
  std::atomic<bool> ends_{false};
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
  std::vector<Request> taken_;
  std::thread thread_;
};

}  // namespace galleon
