#include "common/net/tls_diagnosis.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/net/certificate_expiry.h"
#include "common/net/openssl.h"

namespace galleon {

namespace {

using Context = std::unique_ptr<SSL_CTX, openssl::Freer<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, openssl::Freer<SSL_free>>;

std::string date(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

// A connection on which nothing is waited for longer than two seconds.
FileDescriptor connect_to(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return {};
  const std::unique_ptr<addrinfo, openssl::Freer<::freeaddrinfo>> all(found);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    FileDescriptor socket(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol));
    const timeval limit{2, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (::connect(socket.get(), at->ai_addr, at->ai_addrlen) == 0) return socket;
  }
  return {};
}

void use(SSL_CTX* context, const TlsFolder& tls) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  const openssl::Bio authorities = openssl::bio_of(tls.authority);
  while (const openssl::Certificate next = openssl::read_certificate(authorities))
    X509_STORE_add_cert(store, next.get());
  const openssl::Certificate own = openssl::read_certificate(openssl::bio_of(tls.certificate));
  const openssl::Key key = openssl::read_key(openssl::bio_of(tls.key));
  if (own != nullptr && key != nullptr) {
    SSL_CTX_use_certificate(context, own.get());
    SSL_CTX_use_PrivateKey(context, key.get());
  }
}

void expect_host(SSL* session, const std::string& host) {
  in6_addr parsed{};
  const bool address =
      ::inet_pton(AF_INET, host.c_str(), &parsed) == 1 || ::inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
  if (address) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host.c_str());
  } else {
    SSL_set1_host(session, host.c_str());
    SSL_set_tlsext_host_name(session, host.c_str());
  }
}

std::string peers_end(const SSL* session) {
  const openssl::Certificate peer(SSL_get1_peer_certificate(session));
  const std::optional<absl::Time> end = openssl::end_of(peer.get());
  return end ? absl::StrCat(" on ", date(*end)) : "";
}

// What we found wrong with the server's certificate.
std::string server_fault(const SSL* session, const std::string& host, const std::string& folder) {
  const long verdict = SSL_get_verify_result(session);
  switch (verdict) {
    case X509_V_OK:
      return "";
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat("its certificate has expired", peers_end(session), "; renew it on its machine");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid yet; is the clock of this machine right?";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return absl::StrCat("its certificate is not for ", host, "; use a name that it was made for (init-tls --host)");
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return absl::StrCat("its certificate is of another authority than ", folder, "/ca.pem");
    default:
      return absl::StrCat("its certificate is refused: ", X509_verify_cert_error_string(verdict));
  }
}

// What it found wrong with ours, by the alert that it sent.
std::string client_fault(const std::string& folder) {
  const unsigned long error = ERR_peek_error();
  if (error == 0) return "";
  switch (ERR_GET_REASON(error)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      return "it speaks no TLS; leave out --tls and GALLEON_TLS";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
      return absl::StrCat("it does not know the authority of ", folder, "/cert.pem");
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return absl::StrCat("it says that ", folder, "/cert.pem has expired");
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return absl::StrCat("it refuses ", folder, "/cert.pem");
    default:
      return "";
  }
}

// A server that refuses our certificate says so behind the handshake, or hangs up; one that takes it greets us.
std::string refusal_of(SSL* session, const TlsFolder& tls, const std::string& folder) {
  char greeting = 0;
  errno = 0;
  const int read = SSL_read(session, &greeting, 1);
  if (read > 0 || errno == EAGAIN) return "";
  std::string fault = client_fault(folder);
  if (fault.empty() && !tls.certificate.empty())
    fault = absl::StrCat("it hangs up at ", folder, "/cert.pem, which is likely of another authority than its own");
  return fault;
}

}  // namespace

std::string explain_tls(const std::string& server, const TlsFolder& tls, const std::string& folder) {
  const size_t colon = server.rfind(':');
  if (colon == std::string::npos) return "";
  std::string host = server.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  if (const absl::StatusOr<absl::Time> end = certificate_expiry(tls.certificate); end.ok() && *end < absl::Now())
    return absl::StrCat(folder, "/cert.pem has expired on ", date(*end),
                        "; ask for a new one (galleon admin init-tls)");
  const FileDescriptor socket = connect_to(host, server.substr(colon + 1));
  const Context context(SSL_CTX_new(TLS_client_method()));
  if (!socket.valid() || context == nullptr) return "";
  use(context.get(), tls);
  const Session session(SSL_new(context.get()));
  if (session == nullptr || SSL_set_fd(session.get(), socket.get()) != 1) return "";
  // Its certificate is looked at behind the handshake, which goes on whatever it is: nothing secret is sent.
  SSL_set_verify(session.get(), SSL_VERIFY_NONE, nullptr);
  if (!folder.empty()) expect_host(session.get(), host);
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(session.get(), kHttp2, sizeof(kHttp2));
  ERR_clear_error();
  std::string fault;
  const bool shaken = SSL_connect(session.get()) == 1;
  if (folder.empty()) {
    if (shaken) fault = "it speaks TLS; give --tls FOLDER or GALLEON_TLS";
  } else if (!shaken) {
    fault = client_fault(folder);
  } else {
    fault = server_fault(session.get(), host, folder);
    if (fault.empty()) fault = refusal_of(session.get(), tls, folder);
  }
  ERR_clear_error();
  return fault;
}

}  // namespace galleon
