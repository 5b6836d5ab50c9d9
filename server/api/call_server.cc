#include "server/api/call_server.h"

#include <atomic>
#include <chrono>
#include <utility>

#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/net/call_guard.h"
#include "grpcpp/health_check_service_interface.h"

namespace galleon::server {

namespace {

using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

constexpr int kLargestRequest = 512 << 10;  // nobody sends much more than half of it
constexpr int kLargestAnswer = 4 << 20;
constexpr int kMostStreams = 100;  // of a connection
constexpr size_t kMostCallMemory = 256 << 20;

void bound(grpc::ServerBuilder& builder) {
  builder.SetResourceQuota(grpc::ResourceQuota("calls").Resize(kMostCallMemory));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 900'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMostStreams);
  // Small windows, and little read at a time: a client that says more than they allow, such as a header that never
  // ends, is seen and ended by the doorkeeper before it costs much.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 64 << 10);
  builder.SetMaxReceiveMessageSize(kLargestRequest);
  builder.SetMaxSendMessageSize(kLargestAnswer);
}

}  // namespace

struct CallServer::Parts {
  SystemClock clock;
  CallGuard guard{&clock, [this](const std::string& peer) {
                    if (Doorkeeper* at = door; at != nullptr) at->end(peer);
                  }};
  std::atomic<Doorkeeper*> door = nullptr;  // once it is there
  std::unique_ptr<Acceptor> acceptor;
  std::unique_ptr<Doorkeeper> doorkeeper;  // outlives the server's calls
  std::unique_ptr<grpc::Server> server;    // connections come from the acceptor alone
};

absl::StatusOr<std::unique_ptr<CallServer>> CallServer::start(ListenSocket listener, Options options) {
  auto parts = std::make_unique<Parts>();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  parts->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, options.credentials);
  if (options.tls) options.credentials->SetAuthMetadataProcessor(beginnings(&parts->guard));
  bound(builder);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(endings(&parts->guard));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  options.add_services(builder);
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr) return absl::InternalError("gRPC cannot be started");
  Doorkeeper::Options door;
  door.tls = options.tls;
  door.hand_over = [acceptor = parts->acceptor.get()](int fd, int of) {
    Acceptor::NewConnectionParameters connection;
    connection.fd = fd;
    connection.listener_fd = of;
    acceptor->HandleNewConnection(&connection);
  };
  ASSIGN_OR_RETURN(parts->doorkeeper, Doorkeeper::start(std::move(listener), std::move(door)));
  parts->door = parts->doorkeeper.get();
  return std::unique_ptr<CallServer>(new CallServer(std::move(parts)));
}

CallServer::CallServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

CallServer::~CallServer() {
  close_door();
  shut_down(absl::ZeroDuration());
}

Doorkeeper::Counts CallServer::connections() const {
  return parts_->doorkeeper->counts();
}

absl::Status CallServer::alive() const {
  return parts_->doorkeeper->alive();
}

void CallServer::set_healthy(bool healthy) {
  parts_->server->GetHealthCheckService()->SetServingStatus(healthy);
}

std::shared_ptr<grpc::Channel> CallServer::channel() {
  return parts_->server->InProcessChannel(grpc::ChannelArguments());
}

void CallServer::close_door() {
  parts_->doorkeeper->stop();
}

void CallServer::shut_down(absl::Duration patience) {
  if (parts_->server == nullptr) return;
  parts_->server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(patience));
  parts_->server->Wait();
  parts_->server.reset();
}

}  // namespace galleon::server
