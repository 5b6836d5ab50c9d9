// One unary call: counted, answered once.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/api/errors.h"
#include "server/api/metrics.h"

namespace galleon::server {

inline void count_request(Metrics* metrics, absl::string_view method, const absl::Status& status) {
  metrics->request(method, absl::StatusCodeToString(status.code()));
}

class Unary {
 public:
  // `method` is a literal.
  Unary(grpc::CallbackServerContext* context, Metrics* metrics, const char* method)
      : reactor_(context->DefaultReactor()), metrics_(metrics), method_(method) {}
  void finish(const absl::Status& status, absl::string_view reason = "") const {
    count_request(metrics_, method_, status);
    reactor_->Finish(to_grpc(status, reason));
  }
  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

 private:
  grpc::ServerUnaryReactor* reactor_;
  Metrics* metrics_;
  const char* method_;
};

}  // namespace galleon::server
