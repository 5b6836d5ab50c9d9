// What a scheduler that stands by says to whoever calls: that it does not serve, and who does.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/net/listen_socket.h"
#include "grpcpp/security/server_credentials.h"

namespace galleon::server {

class Standby {
 public:
  struct Answer {
    std::string sentence;
    std::string writer;  // its address, in the trailer kWriterTrailer; empty: nobody's
  };
  // Every call of every method ends with UNAVAILABLE and an answer that is asked for anew.
  static absl::StatusOr<std::unique_ptr<Standby>> start(ListenSocket listener, bool tls,
                                                        const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                        std::function<Answer()> answer);
  ~Standby();

 private:
  struct Parts;
  explicit Standby(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace galleon::server
