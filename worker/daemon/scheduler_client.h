// The daemon's calls to the scheduler: one channel, a deadline on every call, errors as absl::Status.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "galleon/v1/workers.pb.h"

namespace grpc {
class ChannelCredentials;
class ClientContext;
}  // namespace grpc

namespace galleon {

class SchedulerClient {
 public:
  // Without credentials the connection is neither encrypted nor authenticated.
  explicit SchedulerClient(const std::string& server, std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr);
  ~SchedulerClient();

  absl::StatusOr<v1::RegisterWorkerResponse> register_worker(const v1::RegisterWorkerRequest& request);
  // Waits as the request says. Another thread may end the wait with cancel_sync: CANCELLED.
  absl::StatusOr<v1::SyncWorkerResponse> sync(const v1::SyncWorkerRequest& request);
  void cancel_sync();
  absl::Status publish_checkpoint(const v1::PublishCheckpointRequest& request);
  absl::StatusOr<uint64_t> append_logs(const v1::AppendLogsRequest& request);

 private:
  struct Stub;
  std::unique_ptr<Stub> stub_;
  std::mutex mutex_;
  grpc::ClientContext* sync_context_ = nullptr;
};

}  // namespace galleon
