// The gRPC server of a scheduler, with a doorkeeper before it: what any caller may cost, whether this scheduler serves
// or stands by.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/doorkeeper.h"
#include "common/net/listen_socket.h"
#include "grpcpp/grpcpp.h"

namespace galleon::server {

class CallServer {
 public:
  struct Options {
    bool tls = false;
    std::shared_ptr<grpc::ServerCredentials> credentials;
    // Adds the services. What they are made of outlives this.
    std::function<void(grpc::ServerBuilder& builder)> add_services;
  };
  static absl::StatusOr<std::unique_ptr<CallServer>> start(ListenSocket listener, Options options);
  ~CallServer();

  Doorkeeper::Counts connections() const;
  absl::Status alive() const;
  // What health checks are told.
  void set_healthy(bool healthy);
  // Calls of this process, past the door.
  std::shared_ptr<grpc::Channel> channel();
  // Lets nobody in any more.
  void close_door();
  // Ends the calls that have not ended by themselves after `patience`. Once, after close_door().
  void shut_down(absl::Duration patience);

 private:
  struct Parts;
  explicit CallServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace galleon::server
