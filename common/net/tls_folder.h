// Who a program is on the network: a folder with its certificate and key, the authority that it trusts, and perhaps a
// token. `galleon admin init-tls` makes such folders.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"

namespace galleon {

struct TlsFolder {
  std::string authority;    // ca.pem: who signs the others' certificates
  std::string certificate;  // cert.pem; empty: it has a token alone
  std::string key;          // key.pem
  std::string token;        // token, of a client; empty: it has a certificate alone
};

// NOT_FOUND, PERMISSION_DENIED (a key or token that others than its owner may read); messages name the file and never
// what is in it.
absl::StatusOr<TlsFolder> load_tls_folder(const std::string& folder);

class TlsWatch;

// A server that asks for certificates and refuses those of other authorities. Who shows none must bring a token.
// Connections use what the watch has in use when they are made; it must outlive the server. FAILED_PRECONDITION: no
// certificate in the folder.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> server_credentials(const TlsWatch& watch);
// A client that shows its certificate and sends its token with every call, to a server that the authority has signed.
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsFolder& tls);
// The same for programs that run for long: the certificates, though not the token, are those of the watch.
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsWatch& watch);

}  // namespace galleon
