// HTTP/2 by hand, for what no library would send.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/files.h"

namespace galleon::http2 {

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kWindowUpdate = 8,
  kContinuation = 9
};
enum Flags : uint8_t { kNone = 0, kEndStream = 1, kEndHeaders = 4 };

inline std::string frame(FrameType type, uint8_t flags, uint32_t stream, const std::string& payload) {
  const auto size = static_cast<uint32_t>(payload.size());
  std::string bytes;
  for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<char>(size >> shift));
  bytes.push_back(static_cast<char>(type));
  bytes.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(stream >> shift));
  return bytes + payload;
}

// The beginning of a text in HPACK, without Huffman's code: its length.
inline std::string length_of(uint64_t length) {
  if (length < 127) return std::string(1, static_cast<char>(length));
  std::string bytes(1, 127);
  for (length -= 127; length >= 128; length /= 128) bytes.push_back(static_cast<char>(128 + length % 128));
  bytes.push_back(static_cast<char>(length));
  return bytes;
}

inline std::string header(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + length_of(name.size()) + name + length_of(value.size()) + value;
}

inline std::string call_headers(const std::string& path) {
  return header(":method", "POST") + header(":scheme", "https") + header(":path", path) + header(":authority", "x") +
         header("content-type", "application/grpc") + header("te", "trailers");
}

// A TCP connection, which may say nothing.
inline FileDescriptor connect_to(const std::string& address) {
  const std::vector<std::string> parts = absl::StrSplit(address, ':');
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(parts.back(), &port));
  FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  // A server that reads no more holds up nobody for ever.
  const timeval limit{5, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return socket;
}

// With TLS, and the certificate of a folder where one is given; the server's is not looked at.
class Connection {
 public:
  explicit Connection(const std::string& address, const std::string& identity = "")
      : socket_(connect_to(address)), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    if (!identity.empty()) {
      EXPECT_EQ(SSL_CTX_use_certificate_chain_file(context_.get(), (identity + "/cert.pem").c_str()), 1);
      EXPECT_EQ(SSL_CTX_use_PrivateKey_file(context_.get(), (identity + "/key.pem").c_str(), SSL_FILETYPE_PEM), 1);
    }
    static constexpr unsigned char kProtocols[] = {2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context_.get(), kProtocols, sizeof(kProtocols));
    tls_.reset(SSL_new(context_.get()));
    SSL_set_fd(tls_.get(), socket_.get());
    EXPECT_EQ(SSL_connect(tls_.get()), 1);
  }

  // False: the other end takes no more.
  bool say(const std::string& bytes) {
    size_t written = 0;
    while (written < bytes.size()) {
      const int n = SSL_write(tls_.get(), bytes.data() + written, static_cast<int>(bytes.size() - written));
      if (n <= 0) return false;
      written += static_cast<size_t>(n);
    }
    return true;
  }
  // `settings`: pairs of a setting's number and its value.
  bool greet(const std::vector<std::pair<uint16_t, uint32_t>>& settings = {}) {
    std::string payload;
    for (const auto& [number, value] : settings) {
      for (const int shift : {8, 0}) payload.push_back(static_cast<char>(number >> shift));
      for (const int shift : {24, 16, 8, 0}) payload.push_back(static_cast<char>(value >> shift));
    }
    return say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, kNone, 0, payload));
  }

 private:
  FileDescriptor socket_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  struct Free {
    void operator()(SSL* tls) const { SSL_free(tls); }
  };
  std::unique_ptr<SSL, Free> tls_;
};

}  // namespace galleon::http2
