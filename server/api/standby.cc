#include "server/api/standby.h"

#include "common/base/status_macros.h"
#include "common/net/server_list.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "server/api/call_server.h"

namespace galleon::server {

namespace {

class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const std::string& sentence) { Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, sentence)); }
  void OnDone() override { delete this; }
};

class Refuser final : public grpc::CallbackGenericService {
 public:
  explicit Refuser(std::function<Standby::Answer()> answer) : answer_(std::move(answer)) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const Standby::Answer answer = answer_();
    if (!answer.writer.empty()) context->AddTrailingMetadata(kWriterTrailer, answer.writer);
    return new Refusal(answer.sentence);
  }

 private:
  const std::function<Standby::Answer()> answer_;
};

}  // namespace

struct Standby::Parts {
  explicit Parts(std::function<Answer()> answer) : refuser(std::move(answer)) {}
  Refuser refuser;
  std::unique_ptr<CallServer> calls;
};

absl::StatusOr<std::unique_ptr<Standby>> Standby::start(ListenSocket listener, bool tls,
                                                        const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                        std::function<Answer()> answer) {
  auto parts = std::make_unique<Parts>(std::move(answer));
  CallServer::Options with;
  with.tls = tls;
  with.credentials = credentials;
  with.add_services = [&parts](grpc::ServerBuilder& builder) {
    builder.RegisterCallbackGenericService(&parts->refuser);
  };
  ASSIGN_OR_RETURN(parts->calls, CallServer::start(std::move(listener), std::move(with)));
  parts->calls->set_healthy(false);
  return std::unique_ptr<Standby>(new Standby(std::move(parts)));
}

Standby::Standby(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Standby::~Standby() {
  parts_->calls->close_door();
  parts_->calls->shut_down(absl::Milliseconds(200));
}

}  // namespace galleon::server
