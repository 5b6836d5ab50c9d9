#include "server/api/access.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "common/net/certificates.h"

namespace galleon::server {

namespace {

constexpr const char* kRoleNames[] = {"none", "viewer", "submitter", "operator", "worker"};

const char* name_of(Role role) {
  return kRoleNames[static_cast<size_t>(role)];
}

absl::Status wrong(absl::string_view file, const YAML::Node& at, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", at.Mark().line + 1, ": ", what));
}

absl::StatusOr<Role> role_of(const std::string& word) {
  for (const Role role : {Role::kViewer, Role::kSubmitter, Role::kOperator, Role::kWorker}) {
    if (word == name_of(role)) return role;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", word, "\" is not a role; viewer, submitter, operator or worker"));
}

}  // namespace

bool Caller::may(Role needed, absl::string_view project) const {
  if (anybody) return true;
  for (const std::string& key : {std::string(project), std::string("*")}) {
    const auto it = roles.find(key);
    if (key.empty() || it == roles.end()) continue;
    const bool worker = it->second == Role::kWorker;
    if (needed == Role::kWorker ? worker : !worker && it->second >= needed) return true;
  }
  return false;
}

bool Caller::may_anywhere(Role needed) const {
  return anybody || std::any_of(roles.begin(), roles.end(), [&](const auto& role) { return may(needed, role.first); });
}

absl::Status Caller::may_be_worker(absl::string_view worker_id) const {
  if (anybody || !workers.has_value()) return absl::OkStatus();
  const bool known = std::any_of(workers->begin(), workers->end(), [&](absl::string_view pattern) {
    return absl::ConsumeSuffix(&pattern, "*") ? absl::StartsWith(worker_id, pattern) : worker_id == pattern;
  });
  if (known) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(name, " may not speak for worker ", worker_id, "; its workers are ", absl::StrJoin(*workers, ", ")));
}

absl::Status Caller::may_have_label(const std::string& key, const std::string& value) const {
  if (anybody || !labels.has_value()) return absl::OkStatus();
  const auto it = labels->find(key);
  if (it != labels->end() && it->second == value) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("workers of ", name, " may not have the label ", key, "=", value));
}

namespace {

// The names of workers that a principal speaks for.
absl::StatusOr<std::vector<std::string>> read_workers(absl::string_view file, const YAML::Node& list,
                                                      const std::string& principal) {
  std::vector<std::string> names;
  for (const auto& entry : list) {
    const std::string text = entry.IsScalar() ? entry.Scalar() : "";
    if (text.empty() || text.find('*') < text.size() - 1)
      return wrong(file, entry,
                   absl::StrCat(principal, ".workers: names are expected, with '*' at the end or nowhere"));
    names.push_back(text);
  }
  return names;
}

// One principal. Its line is named by the caller's reader.
absl::StatusOr<Caller> read_principal(absl::string_view file, const YAML::Node& name, const YAML::Node& fields) {
  Caller caller;
  caller.name = name.IsScalar() ? name.Scalar() : "";
  if (caller.name.empty()) return wrong(file, name, "a principal needs a name");
  if (!fields.IsMap()) return wrong(file, name, absl::StrCat(caller.name, ": a mapping is expected"));
  for (const auto& field : fields) {
    const std::string key = field.first.IsScalar() ? field.first.Scalar() : "";
    if (key == "certificate" && field.second.IsScalar()) {
      caller.certificate = field.second.Scalar();
    } else if (key == "token_sha256" && field.second.IsScalar()) {
      const std::string token = absl::AsciiStrToLower(field.second.Scalar());
      if (token.size() != 64 || !std::all_of(token.begin(), token.end(), absl::ascii_isxdigit))
        return wrong(file, field.second,
                     absl::StrCat(caller.name, ".token_sha256: 64 hexadecimal digits are expected"));
      caller.token_sha256 = token;
    } else if (key == "roles" && field.second.IsMap()) {
      for (const auto& role : field.second) {
        const std::string project = role.first.IsScalar() ? role.first.Scalar() : "";
        const absl::StatusOr<Role> found = role_of(role.second.IsScalar() ? role.second.Scalar() : "");
        if (!found.ok()) {
          return wrong(file, role.second,
                       absl::StrCat(caller.name, ".roles.", project, ": ", std::string(found.status().message())));
        }
        caller.roles[project] = *found;
      }
    } else if (key == "workers" && field.second.IsSequence()) {
      ASSIGN_OR_RETURN(caller.workers, read_workers(file, field.second, caller.name));
    } else if (key == "labels" && field.second.IsMap()) {
      caller.labels.emplace();
      for (const auto& label : field.second) (*caller.labels)[label.first.Scalar()] = label.second.Scalar();
    } else {
      return wrong(file, field.first,
                   absl::StrCat(caller.name, " has no key \"", key,
                                "\"; there are certificate, token_sha256, roles, workers, labels"));
    }
  }
  const bool worker = std::any_of(caller.roles.begin(), caller.roles.end(),
                                  [](const auto& role) { return role.second == Role::kWorker; });
  if (!worker && (caller.workers.has_value() || caller.labels.has_value()))
    return wrong(file, name, absl::StrCat(caller.name, ": workers and labels belong to the role worker"));
  if (caller.certificate.empty() && caller.token_sha256.empty())
    return wrong(file, name, absl::StrCat(caller.name, ": certificate or token_sha256 must be given"));
  return caller;
}

}  // namespace

absl::StatusOr<Access> Access::parse(const std::string& yaml, absl::string_view file) {
  Access access;
  access.open_ = false;
  try {
    const YAML::Node root = YAML::Load(yaml);
    if (!root.IsMap() || root.size() != 1 || !root["principals"].IsMap())
      return wrong(file, root, "a mapping \"principals\" of names is expected");
    for (const auto& entry : root["principals"]) {
      ASSIGN_OR_RETURN(const Caller caller, read_principal(file, entry.first, entry.second));
      if (!access.principals_.emplace(caller.name, caller).second)
        return wrong(file, entry.first, absl::StrCat(caller.name, " is there twice"));
      const bool fresh =
          (caller.certificate.empty() || access.by_certificate_.emplace(caller.certificate, caller).second) &&
          (caller.token_sha256.empty() || access.by_token_.emplace(caller.token_sha256, caller).second);
      if (!fresh)
        return wrong(file, entry.first, absl::StrCat(caller.name, ": its certificate or token is another's too"));
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.mark.line + 1, ": ", error.msg));
  }
  // As it is known in one way, that way alone.
  for (auto& [certificate, caller] : access.by_certificate_) caller.token_sha256.clear();
  for (auto& [token, caller] : access.by_token_) caller.certificate.clear();
  return access;
}

absl::StatusOr<Access> Access::load(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, read_file(path));
  return parse(text, path);
}

absl::StatusOr<Caller> Access::identify(const std::string& certificate, absl::string_view authorization) const {
  if (open_) return Caller{"", true, {}};
  // A token says more than the machine's certificate does.
  if (absl::StartsWith(authorization, "Bearer ")) {
    const auto it = by_token_.find(sha256_hex(std::string(authorization.substr(7))));
    if (it != by_token_.end()) return it->second;
    return absl::UnauthenticatedError("the token is not known here");
  }
  const auto it = by_certificate_.find(certificate);
  if (it != by_certificate_.end()) return it->second;
  return absl::UnauthenticatedError(
      certificate.empty()
          ? "a certificate or a token is needed; --tls FOLDER or GALLEON_TLS names the folder that holds it"
          : absl::StrCat("nobody here is known by the certificate of \"", certificate, "\""));
}

absl::StatusOr<Caller> Access::identify(const grpc::ServerContextBase& context) const {
  if (open_) return Caller{"", true, {}};
  std::string certificate;
  if (const auto peer = context.auth_context(); peer != nullptr) {
    const std::vector<grpc::string_ref> names = peer->FindPropertyValues("x509_common_name");
    if (!names.empty()) certificate.assign(names[0].data(), names[0].size());
  }
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find("authorization");
  return identify(certificate,
                  it == metadata.end() ? absl::string_view() : absl::string_view(it->second.data(), it->second.size()));
}

absl::StatusOr<Caller> Access::again(const Caller& caller) const {
  if (open_) return Caller{"", true, {}};
  const std::map<std::string, Caller>& known = caller.token_sha256.empty() ? by_certificate_ : by_token_;
  const auto it = known.find(caller.token_sha256.empty() ? caller.certificate : caller.token_sha256);
  if (it != known.end()) return it->second;
  return absl::UnauthenticatedError(absl::StrCat("the access file knows no more of what ", caller.name, " showed"));
}

absl::Status Viewer::may_see(absl::string_view project) {
  // Taken before the access, so that a change in between is looked at again.
  if (const uint64_t generation = access_->generation(); generation != generation_) {
    ASSIGN_OR_RETURN(caller_, access_->get()->again(caller_));
    generation_ = generation;
  }
  return require_role(caller_, Role::kViewer, project);
}

absl::Status require_role(const Caller& caller, Role needed, absl::string_view project) {
  if (caller.may(needed, project)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(caller.name, " is not ", needed == Role::kOperator ? "an " : "a ",
                                                  name_of(needed),
                                                  needed == Role::kWorker || project == "*" ? ""
                                                  : project.empty() ? " of every project, and the job is in none"
                                                                    : absl::StrCat(" of project ", project)));
}

}  // namespace galleon::server
