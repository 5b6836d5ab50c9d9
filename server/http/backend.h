// The gRPC services of this process, called by name: a request by HTTP goes through the very code that one by gRPC goes
// through, with its roles, limits and audit.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/channel.h"
#include "grpcpp/generic/generic_stub.h"

namespace galleon::server {

// In the metadata of a call from inside: the word by which it is known as such, and from where its request came.
inline constexpr char kPeerKey[] = "x-galleon-peer";

struct Identity {
  std::string authorization;  // the header's value; empty: there was none
  std::string peer;           // "WORD http:127.0.0.1:40123"
};

class Backend {
 public:
  explicit Backend(const std::shared_ptr<grpc::Channel>& channel) : stub_(channel) {}

  // `done`: from another thread, once.
  void call(const std::string& method, const std::string& request, const Identity& identity,
            std::function<void(const grpc::Status&, std::string response)> done);

  // A stream that is read one message at a time, so that who reads slowly holds up nobody but the sender.
  class Stream {
   public:
    virtual ~Stream() = default;
    // After `on_message`: go on.
    virtual void next() = 0;
    // on_end comes soon.
    virtual void cancel() = 0;
  };
  // Both from other threads; `on_end` last, and once. The first message is on its way.
  std::shared_ptr<Stream> stream(const std::string& method, const std::string& request, const Identity& identity,
                                 std::function<void(std::string message)> on_message,
                                 std::function<void(const grpc::Status&)> on_end);

 private:
  grpc::GenericStub stub_;
};

}  // namespace galleon::server
