#include "common/net/tls_folder.h"

#include <unistd.h>

#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/secret_file.h"
#include "common/base/status_macros.h"
#include "common/net/tls_watch.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace galleon {

namespace {

class TokenPlugin final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit TokenPlugin(std::string token) : value_("Bearer " + std::move(token)) {}
  bool IsBlocking() const override { return false; }
  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<grpc::string, grpc::string>* metadata) override {
    metadata->emplace("authorization", value_);
    return grpc::Status::OK;
  }
  grpc::string DebugString() override { return "token"; }

 private:
  const std::string value_;
};

std::shared_ptr<grpc::ChannelCredentials> with_token(const std::shared_ptr<grpc::ChannelCredentials>& channel,
                                                     const std::string& token) {
  if (token.empty()) return channel;
  return grpc::CompositeChannelCredentials(channel,
                                           grpc::MetadataCredentialsFromPlugin(std::make_unique<TokenPlugin>(token)));
}

// gRPC keeps these names for the interface that takes certificates again; the plain one takes them once.
namespace tls_api = grpc::experimental;

}  // namespace

absl::StatusOr<TlsFolder> load_tls_folder(const std::string& folder) {
  TlsFolder tls;
  ASSIGN_OR_RETURN(tls.authority, read_file(folder + "/ca.pem"));
  const bool has_token = ::access((folder + "/token").c_str(), F_OK) == 0;
  if (has_token) {
    ASSIGN_OR_RETURN(std::string token, read_secret(folder + "/token"));
    tls.token = std::string(absl::StripAsciiWhitespace(token));
  }
  if (has_token && ::access((folder + "/cert.pem").c_str(), F_OK) != 0) return tls;
  ASSIGN_OR_RETURN(std::string certificate, read_file(folder + "/cert.pem"));
  ASSIGN_OR_RETURN(std::string key, read_secret(folder + "/key.pem"));
  tls.certificate = std::move(certificate);
  tls.key = std::move(key);
  return tls;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> server_credentials(const TlsWatch& watch) {
  if (watch.in_use().certificate.empty()) return absl::FailedPreconditionError("a server needs cert.pem and key.pem");
  tls_api::TlsServerCredentialsOptions options(watch.provider());
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls_api::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsFolder& tls) {
  return with_token(grpc::SslCredentials({tls.authority, tls.key, tls.certificate}), tls.token);
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsWatch& watch) {
  const TlsFolder tls = watch.in_use();
  tls_api::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(watch.provider());
  options.watch_root_certs();
  if (!tls.certificate.empty()) options.watch_identity_key_cert_pairs();
  return with_token(tls_api::TlsCredentials(options), tls.token);
}

}  // namespace galleon
