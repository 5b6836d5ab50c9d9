// How an MLflow server is reached: its address, and what MLflow's own variables of the environment say.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// The value of a variable; empty: it is not set.
using Environment = std::function<std::string(const std::string& name)>;
std::string process_environment(const std::string& name);

struct MlflowAccess {
  std::string address;  // as tracking_address spells it
  std::string user;     // with password: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD
  std::string password;
  std::string token;               // MLFLOW_TRACKING_TOKEN, without a user
  std::string authorities;         // MLFLOW_TRACKING_SERVER_CERT_PATH: a file of certificates, or a folder
  std::string client_certificate;  // MLFLOW_TRACKING_CLIENT_CERT_PATH: with its key
  // What goes over the network in clear and should not, in words; empty: nothing.
  std::string in_clear() const;
};

// INVALID_ARGUMENT: no such address, or a variable that is not honoured here; never with a value of one.
absl::StatusOr<MlflowAccess> mlflow_access(const std::string& address, const Environment& environment);

}  // namespace galleon
