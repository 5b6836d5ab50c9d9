// The daemon's calls to the scheduler: one channel, a deadline on every call, errors as absl::Status.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/server_list.h"
#include "galleon/v1/workers.pb.h"

namespace grpc {
class ChannelCredentials;
class ClientContext;
class Status;
}  // namespace grpc

namespace galleon {

class SchedulerClient {
 public:
  // `server`: "HOST:PORT", or several with commas between, of which the one that serves is found. Without credentials
  // the connection is neither encrypted nor authenticated.
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
  // Connected, of the address that is the search's now; for calls of several threads.
  std::shared_ptr<Stub> stub();
  // What a call on it came to; UNAVAILABLE sends the next call elsewhere.
  absl::Status result(const Stub& stub, const grpc::ClientContext& context, const grpc::Status& status);

  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  std::mutex mutex_;
  ServerSearch search_;
  std::shared_ptr<Stub> stub_;  // null: to be made
  grpc::ClientContext* sync_context_ = nullptr;
};

}  // namespace galleon
