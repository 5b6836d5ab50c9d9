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

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

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
  std::string certificate = {};       // by whose name, or
  std::string token_sha256 = {};      // by which token it is known
  // Of a worker: names that it may have, a last '*' stands for the rest of one, and labels; nullopt: any.
  std::optional<std::vector<std::string>> workers = {};
  std::optional<std::map<std::string, std::string>> labels = {};

  bool may(Role needed, absl::string_view project) const;
  // In some project at least.
  bool may_anywhere(Role needed) const;
  // PERMISSION_DENIED names what it may be.
  absl::Status may_be_worker(absl::string_view worker_id) const;
  absl::Status may_have_label(const std::string& key, const std::string& value) const;
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
  // Who was known before, as it is known here. UNAUTHENTICATED: no longer.
  absl::StatusOr<Caller> again(const Caller& caller) const;
  // What the file says of each; by name, both ways in which it may be known.
  const std::map<std::string, Caller>& principals() const { return principals_; }

 private:
  bool open_ = true;
  std::map<std::string, Caller> principals_;
  std::map<std::string, Caller> by_certificate_;
  std::map<std::string, Caller> by_token_;  // by its SHA-256
};

// PERMISSION_DENIED with what is missing, or OK.
absl::Status require_role(const Caller& caller, Role needed, absl::string_view project);

// The access that holds at the moment; a reload puts another in its place. For any thread.
class AccessInForce {
 public:
  explicit AccessInForce(Access access) : access_(std::make_shared<const Access>(std::move(access))) {}
  std::shared_ptr<const Access> get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return access_;
  }
  void replace(Access access) {
    const std::lock_guard<std::mutex> lock(mutex_);
    access_ = std::make_shared<const Access>(std::move(access));
    ++generation_;
  }
  // Another one for each access.
  uint64_t generation() const { return generation_; }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Access> access_;
  std::atomic<uint64_t> generation_{1};
};

// Who opened a stream: what it may see can end while the stream is open.
class Viewer {
 public:
  Viewer(const AccessInForce* access, Caller caller) : access_(access), caller_(std::move(caller)) {}
  // UNAUTHENTICATED or PERMISSION_DENIED: it may see nothing of this project any more.
  absl::Status may_see(absl::string_view project);

 private:
  const AccessInForce* access_;
  Caller caller_;
  uint64_t generation_ = 0;
};

}  // namespace galleon::server
