#include "worker/daemon/scheduler_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "absl/time/clock.h"
#include "galleon/v1/workers.grpc.pb.h"

namespace galleon {

namespace {

constexpr absl::Duration kCallDeadline = absl::Seconds(5);
constexpr absl::Duration kConnectWait = absl::Milliseconds(1500);
constexpr int kMaxMessageBytes = 64 << 20;

absl::Status to_status(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

void set_deadline(grpc::ClientContext& context, absl::Duration timeout) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

}  // namespace

struct SchedulerClient::Stub {
  size_t server = 0;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::WorkerService::Stub> service;

  // A broken channel makes progress only while somebody waits on it: a call that fails at once does not, and would
  // leave the new connection to a timer of gRPC's that ticks every five seconds.
  void connect() {
    if (channel->GetState(true) != GRPC_CHANNEL_READY)
      channel->WaitForConnected(absl::ToChronoTime(absl::Now() + kConnectWait));
  }
};

SchedulerClient::SchedulerClient(const std::string& server, std::shared_ptr<grpc::ChannelCredentials> credentials)
    : credentials_(credentials == nullptr ? grpc::InsecureChannelCredentials() : std::move(credentials)),
      search_(parse_server_list(server).value_or(std::vector<std::string>{server})) {}

std::shared_ptr<SchedulerClient::Stub> SchedulerClient::stub() {
  std::shared_ptr<Stub> made;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stub_ == nullptr) {
      grpc::ChannelArguments arguments;
      // A scheduler that comes back should be found within a second.
      arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
      // The longest that one attempt to connect may take; a busy machine needs more than the pauses between them.
      arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
      arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
      arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
      // A new channel is a new connection.
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
      arguments.SetMaxSendMessageSize(kMaxMessageBytes);
      stub_ = std::make_shared<Stub>();
      stub_->server = search_.current();
      stub_->channel = grpc::CreateCustomChannel(search_.servers()[stub_->server], credentials_, arguments);
      stub_->service = v1::WorkerService::NewStub(stub_->channel);
    }
    made = stub_;
  }
  made->connect();
  return made;
}

absl::Status SchedulerClient::result(const Stub& stub, const grpc::ClientContext& context, const grpc::Status& status) {
  // One that is stopped answers nobody, and another may have taken over.
  const bool silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE && !silent) return to_status(status);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto named = trailers.find(kWriterTrailer);
  const std::lock_guard<std::mutex> lock(mutex_);
  // One that stands by names another: a single address may lead to several, and another connection to another.
  if ((search_.servers().size() > 1 || named != trailers.end()) && stub_.get() == &stub) {
    search_.failed(stub.server, named == trailers.end()
                                    ? absl::string_view()
                                    : absl::string_view(named->second.data(), named->second.size()));
    stub_.reset();
  }
  return to_status(status);
}

SchedulerClient::~SchedulerClient() = default;

absl::StatusOr<v1::RegisterWorkerResponse> SchedulerClient::register_worker(const v1::RegisterWorkerRequest& request) {
  const std::shared_ptr<Stub> used = stub();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::RegisterWorkerResponse response;
  const grpc::Status status = used->service->RegisterWorker(&context, request, &response);
  if (!status.ok()) return result(*used, context, status);
  return response;
}

absl::StatusOr<v1::SyncWorkerResponse> SchedulerClient::sync(const v1::SyncWorkerRequest& request) {
  const std::shared_ptr<Stub> used = stub();
  grpc::ClientContext context;
  set_deadline(context, absl::Milliseconds(request.wait_milliseconds()) + kCallDeadline);
  v1::SyncWorkerResponse response;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sync_context_ = &context;
  }
  const grpc::Status status = used->service->SyncWorker(&context, request, &response);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sync_context_ = nullptr;
  }
  if (!status.ok()) return result(*used, context, status);
  return response;
}

void SchedulerClient::cancel_sync() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (sync_context_ != nullptr) sync_context_->TryCancel();
}

absl::Status SchedulerClient::publish_checkpoint(const v1::PublishCheckpointRequest& request) {
  const std::shared_ptr<Stub> used = stub();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::PublishCheckpointResponse response;
  const grpc::Status status = used->service->PublishCheckpoint(&context, request, &response);
  return result(*used, context, status);
}

absl::StatusOr<uint64_t> SchedulerClient::append_logs(const v1::AppendLogsRequest& request) {
  const std::shared_ptr<Stub> used = stub();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::AppendLogsResponse response;
  const grpc::Status status = used->service->AppendLogs(&context, request, &response);
  if (!status.ok()) return result(*used, context, status);
  return response.acknowledged();
}

}  // namespace galleon
