#include "worker/engine/tracking/mlflow_access.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/tracking_address.h"

namespace galleon {

namespace {

constexpr char kAuthorities[] = "MLFLOW_TRACKING_SERVER_CERT_PATH";
constexpr char kClientCertificate[] = "MLFLOW_TRACKING_CLIENT_CERT_PATH";
constexpr char kInsecure[] = "MLFLOW_TRACKING_INSECURE_TLS";
constexpr char kAwsSignature[] = "MLFLOW_TRACKING_AWS_SIGV4";
constexpr char kOtherAuthentication[] = "MLFLOW_TRACKING_AUTH";

constexpr absl::string_view kPlain = "http://";

// What begins with HOST[:PORT].
bool on_this_machine(absl::string_view authority) {
  if (absl::StartsWith(authority, "[::1]")) return true;
  const absl::string_view host = authority.substr(0, authority.find_first_of(":/"));
  return host == "localhost" ||
         (absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

absl::Status not_honoured(absl::string_view name, absl::string_view advice) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is not honoured; ", advice));
}

bool is_true(const std::string& value) {
  const std::string word = absl::AsciiStrToLower(value);
  return word == "true" || word == "1";
}

// A header is made of it.
absl::Status check_line(absl::string_view name, const std::string& value) {
  for (const char c : value) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c)))
      return absl::InvalidArgumentError(absl::StrCat(name, " holds a line break or another control character"));
  }
  return absl::OkStatus();
}

absl::Status check_file(absl::string_view name, const std::string& path) {
  std::error_code error;
  if (path.empty() || std::filesystem::exists(path, error)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": there is no ", path));
}

}  // namespace

std::string process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "";
}

std::string MlflowAccess::in_clear() const {
  const bool secret = !user.empty() || !token.empty();
  if (!secret || !absl::StartsWith(address, kPlain) || on_this_machine(address.substr(kPlain.size()))) return "";
  return absl::StrCat("the credentials for ", address, " go over the network in clear; https:// keeps them");
}

absl::StatusOr<MlflowAccess> mlflow_access(const std::string& address, const Environment& environment) {
  MlflowAccess access;
  const absl::StatusOr<std::string> spelt = tracking_address(address);
  if (!spelt.ok()) return absl::InvalidArgumentError(absl::StrCat("tracking.mlflow: ", spelt.status().message()));
  access.address = *spelt;
  if (is_true(environment(kInsecure)))
    return not_honoured(kInsecure, absl::StrCat(kAuthorities, " names the authority of the server's certificate"));
  if (is_true(environment(kAwsSignature)))
    return not_honoured(kAwsSignature, "a user and a password, a token or a client's certificate are");
  if (!environment(kOtherAuthentication).empty())
    return not_honoured(kOtherAuthentication, "a user and a password, a token or a client's certificate are");
  access.user = environment("MLFLOW_TRACKING_USERNAME");
  access.password = environment("MLFLOW_TRACKING_PASSWORD");
  access.token = environment("MLFLOW_TRACKING_TOKEN");
  access.authorities = environment(kAuthorities);
  access.client_certificate = environment(kClientCertificate);
  RETURN_IF_ERROR(check_line("MLFLOW_TRACKING_TOKEN", access.token));
  RETURN_IF_ERROR(check_file(kAuthorities, access.authorities));
  RETURN_IF_ERROR(check_file(kClientCertificate, access.client_certificate));
  // As MLflow's own client does: a user with a password goes before a token, one without the other is nothing.
  if (access.user.empty() || access.password.empty()) {
    access.user.clear();
    access.password.clear();
  } else {
    access.token.clear();
  }
  return access;
}

}  // namespace galleon
