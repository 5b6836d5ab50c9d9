#include "common/net/server_tls.h"

#include <openssl/err.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/net/openssl.h"
#include "common/net/tls_folder.h"
#include "common/net/tls_watch.h"

namespace galleon {

ssize_t TlsSession::result(int returned) {
  if (returned > 0) return returned;
  const int error = SSL_get_error(ssl_.get(), returned);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    waits_for_ = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    errno = EAGAIN;
    return -1;
  }
  ERR_clear_error();
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  errno = EPROTO;
  return -1;
}

ssize_t TlsSession::receive(char* data, size_t size) {
  ERR_clear_error();
  return result(SSL_read(ssl_.get(), data, openssl::clamped(size)));
}

ssize_t TlsSession::send(const char* data, size_t size) {
  ERR_clear_error();
  return result(SSL_write(ssl_.get(), data, openssl::clamped(size)));
}

void TlsSession::shut_down() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
}

absl::StatusOr<std::unique_ptr<ServerTls>> ServerTls::load(const std::string& folder) {
  std::unique_ptr<ServerTls> tls(new ServerTls(folder));
  tls->version_ = tls->version();
  ASSIGN_OR_RETURN(tls->context_, tls->read());
  return tls;
}

std::unique_ptr<TlsSession> ServerTls::accept(int socket) {
  if (const std::string now = version(); now != version_) {
    version_ = now;
    absl::StatusOr<Context> renewed = read();
    if (renewed.ok()) {
      context_ = *std::move(renewed);
    } else {
      log_error("the renewed certificate in ", folder_, " is not used: ",
                absl::string_view(renewed.status().message().data(), renewed.status().message().size()));
    }
  }
  std::unique_ptr<TlsSession> session(new TlsSession(SSL_new(context_.get())));
  if (session->ssl_ == nullptr || SSL_set_fd(session->ssl_.get(), socket) != 1) return nullptr;
  SSL_set_accept_state(session->ssl_.get());
  return session;
}

std::string ServerTls::version() const {
  std::string version;
  for (const char* name : {"/cert.pem", "/key.pem"}) {
    struct stat info {};
    if (::stat((folder_ + name).c_str(), &info) != 0) continue;
    absl::StrAppend(&version, info.st_ino, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, " ", info.st_size,
                    "\n");
  }
  return version;
}

absl::StatusOr<ServerTls::Context> ServerTls::read() const {
  ASSIGN_OR_RETURN(TlsFolder files, load_tls_folder(folder_));
  RETURN_IF_ERROR(check_tls_folder(files, folder_));
  const absl::Status unusable = absl::InvalidArgumentError(
      absl::StrCat(folder_, "/cert.pem and key.pem are not a certificate in PEM with its key"));
  if (files.certificate.empty()) return unusable;
  Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return absl::InternalError("OpenSSL has no TLS for servers");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  // A response goes out in pieces, from wherever the rest of it then lies.
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const openssl::Bio certificates = openssl::bio_of(files.certificate);
  const openssl::Certificate own = openssl::read_certificate(certificates);
  const openssl::Key key = openssl::read_key(openssl::bio_of(files.key));
  if (own == nullptr || key == nullptr || SSL_CTX_use_certificate(context.get(), own.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 || SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return unusable;
  }
  // Whoever signed it, where that is not the authority itself.
  while (openssl::Certificate next = openssl::read_certificate(certificates)) {
    if (SSL_CTX_add0_chain_cert(context.get(), next.get()) == 1) (void)next.release();
  }
  ERR_clear_error();
  return context;
}

}  // namespace galleon
