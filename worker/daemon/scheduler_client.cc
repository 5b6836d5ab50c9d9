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
    : stub_(std::make_unique<Stub>()) {
  grpc::ChannelArguments arguments;
  // A scheduler that comes back should be found within a second.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // The longest that one attempt to connect may take; a busy machine needs more than the pauses between them.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  stub_->channel = grpc::CreateCustomChannel(
      server, credentials == nullptr ? grpc::InsecureChannelCredentials() : std::move(credentials), arguments);
  stub_->service = v1::WorkerService::NewStub(stub_->channel);
}

SchedulerClient::~SchedulerClient() = default;

absl::StatusOr<v1::RegisterWorkerResponse> SchedulerClient::register_worker(const v1::RegisterWorkerRequest& request) {
  stub_->connect();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::RegisterWorkerResponse response;
  const grpc::Status status = stub_->service->RegisterWorker(&context, request, &response);
  if (!status.ok()) return to_status(status);
  return response;
}

absl::StatusOr<v1::SyncWorkerResponse> SchedulerClient::sync(const v1::SyncWorkerRequest& request) {
  stub_->connect();
  grpc::ClientContext context;
  set_deadline(context, absl::Milliseconds(request.wait_milliseconds()) + kCallDeadline);
  v1::SyncWorkerResponse response;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sync_context_ = &context;
  }
  const grpc::Status status = stub_->service->SyncWorker(&context, request, &response);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    sync_context_ = nullptr;
  }
  if (!status.ok()) return to_status(status);
  return response;
}

void SchedulerClient::cancel_sync() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (sync_context_ != nullptr) sync_context_->TryCancel();
}

absl::Status SchedulerClient::publish_checkpoint(const v1::PublishCheckpointRequest& request) {
  stub_->connect();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::PublishCheckpointResponse response;
  return to_status(stub_->service->PublishCheckpoint(&context, request, &response));
}

absl::StatusOr<uint64_t> SchedulerClient::append_logs(const v1::AppendLogsRequest& request) {
  stub_->connect();
  grpc::ClientContext context;
  set_deadline(context, kCallDeadline);
  v1::AppendLogsResponse response;
  const grpc::Status status = stub_->service->AppendLogs(&context, request, &response);
  if (!status.ok()) return to_status(status);
  return response.acknowledged();
}

}  // namespace galleon
