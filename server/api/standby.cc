#include "server/api/standby.h"

#include <chrono>

#include "common/base/status_macros.h"
#include "common/net/doorkeeper.h"
#include "common/net/server_list.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace galleon::server {

namespace {

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

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
  std::unique_ptr<Acceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<Doorkeeper> doorkeeper;
};

absl::StatusOr<std::unique_ptr<Standby>> Standby::start(ListenSocket listener, bool tls,
                                                        const std::shared_ptr<grpc::ServerCredentials>& credentials,
                                                        std::function<Answer()> answer) {
  auto parts = std::make_unique<Parts>(std::move(answer));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  parts->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 100);
  builder.SetMaxReceiveMessageSize(512 << 10);
  builder.RegisterCallbackGenericService(&parts->refuser);
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr) return absl::InternalError("gRPC cannot be started");
  parts->server->GetHealthCheckService()->SetServingStatus(false);
  Doorkeeper::Options door;
  door.tls = tls;
  door.hand_over = [acceptor = parts->acceptor.get()](int fd, int of) {
    Acceptor::NewConnectionParameters connection;
    connection.fd = fd;
    connection.listener_fd = of;
    acceptor->HandleNewConnection(&connection);
  };
  ASSIGN_OR_RETURN(parts->doorkeeper, Doorkeeper::start(std::move(listener), std::move(door)));
  return std::unique_ptr<Standby>(new Standby(std::move(parts)));
}

Standby::Standby(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Standby::~Standby() {
  parts_->doorkeeper->stop();
  parts_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  parts_->server->Wait();
}

}  // namespace galleon::server
