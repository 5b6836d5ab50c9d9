// Who may do what. A caller is known by the name in its certificate, or by its token; what it may do is told by a YAML
// file:
//
//   principals:
//     admin:  {certificate: admin, roles: {"*": operator}}
//     worker: {certificate: worker, roles: {"*": worker}}
//     ann:    {token_sha256: 9f86d0…, roles: {lab: submitter, default: viewer}}
//
// Roles are given by project, which each queue names; "*" is every project.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/server_context.h"

namespace galleon::server {

// Each may do what those before it may. Workers may do nothing of that, and what workers do.
enum class Role { kNone, kViewer, kSubmitter, kOperator, kWorker };

struct Caller {
  std::string name;  // empty: nobody has to say who they are
  bool anybody = false;
  std::map<std::string, Role> roles;  // by project

  bool may(Role needed, absl::string_view project) const;
  // In some project at least.
  bool may_anywhere(Role needed) const;
};

class Access {
 public:
  // Everybody may do everything: a server on loopback without TLS.
  static Access open() { return Access(); }
  // INVALID_ARGUMENT names the key and what would be accepted; NOT_FOUND.
  static absl::StatusOr<Access> load(const std::string& path);
  static absl::StatusOr<Access> parse(const std::string& yaml, absl::string_view file);

  // UNAUTHENTICATED: neither a known certificate nor a known token.
  absl::StatusOr<Caller> identify(const grpc::ServerContextBase& context) const;
  // By what the context says: the certificate's name, and the value of "authorization".
  absl::StatusOr<Caller> identify(const std::string& certificate, absl::string_view authorization) const;

 private:
  bool open_ = true;
  std::map<std::string, Caller> by_certificate_;
  std::map<std::string, Caller> by_token_;  // by its SHA-256
};

// PERMISSION_DENIED with what is missing, or OK.
absl::Status require_role(const Caller& caller, Role needed, absl::string_view project);

}  // namespace galleon::server
