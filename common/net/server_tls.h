// TLS under a server of plain, non-blocking sockets: the certificate of a folder, read again when it has been renewed.
#pragma once

#include <openssl/ssl.h>
#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// One connection. The socket stays the caller's and must outlive it; the process must ignore SIGPIPE.
class TlsSession {
 public:
  // As recv(2) and send(2): bytes, 0 at the end, or -1 with errno; after EAGAIN `waits_for` is what to poll the socket
  // for. The handshake happens in the first calls.
  ssize_t receive(char* data, size_t size);
  ssize_t send(const char* data, size_t size);
  short waits_for() const { return waits_for_; }
  // Tells the other side that this is the end; what it answers is not waited for.
  void shut_down();

 private:
  friend class ServerTls;
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  explicit TlsSession(SSL* ssl) : ssl_(ssl) {}
  ssize_t result(int returned);

  std::unique_ptr<SSL, Free> ssl_;
  short waits_for_ = 0;
};

class ServerTls {
 public:
  // NOT_FOUND, PERMISSION_DENIED as load_tls_folder; INVALID_ARGUMENT: not a certificate with its key.
  static absl::StatusOr<std::unique_ptr<ServerTls>> load(const std::string& folder);

  // Null if the session cannot be made.
  std::unique_ptr<TlsSession> accept(int socket);

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  using Context = std::unique_ptr<SSL_CTX, Free>;
  explicit ServerTls(std::string folder) : folder_(std::move(folder)) {}
  // What tells that the files are others: when they were changed, and which they are.
  std::string version() const;
  absl::StatusOr<Context> read() const;

  const std::string folder_;
  std::string version_;
  Context context_;
};

}  // namespace galleon
