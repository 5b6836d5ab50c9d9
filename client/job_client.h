// The client library: the service's methods with deadlines, and retries where a call may be repeated.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/server_list.h"
#include "galleon/v1/admin.grpc.pb.h"
#include "galleon/v1/groups.grpc.pb.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "galleon/v1/queues.grpc.pb.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "grpcpp/security/credentials.h"

namespace galleon {

class JobClient {
 public:
  // Says what stands between us and a server that is there, or nothing.
  using Explain = std::function<std::string()>;
  // `server`: "HOST:PORT", or several with commas between, of which the one that serves is found. Without credentials
  // the connection is neither encrypted nor authenticated.
  explicit JobClient(const std::string& server, std::shared_ptr<grpc::ChannelCredentials> credentials = nullptr,
                     absl::Duration retry_timeout = kRetryTimeout, Explain explain = nullptr);

  // Unary calls take at most `kCallTimeout` and are tried again while the scheduler is unreachable, for at most
  // `retry_timeout`; creating a job is safe to repeat because of its request id.
  absl::StatusOr<v1::JobRecord> create_job(const v1::CreateJobRequest& request);
  // A worker reads the job's model, which takes as long as it takes there.
  absl::StatusOr<v1::ResolveJobResponse> resolve_job(const v1::ResolveJobRequest& request);
  // A piece of a file that comes with a job; how much of it is there then.
  absl::StatusOr<v1::AttachFileResponse> attach_file(const v1::AttachFileRequest& request);
  absl::StatusOr<v1::CreateGroupResponse> create_group(const v1::CreateGroupRequest& request);
  absl::StatusOr<v1::Group> get_group(const std::string& group);
  // Newest first.
  absl::StatusOr<std::vector<v1::Group>> list_groups();
  // No answer by `latest` is DEADLINE_EXCEEDED or UNAVAILABLE.
  absl::StatusOr<v1::JobRecord> get_job(const std::string& job, absl::Time latest = absl::InfiniteFuture());
  // `most`: so many at most, the newest; 0: all.
  absl::StatusOr<std::vector<v1::JobRecord>> list_jobs(const v1::ListJobsRequest& request, size_t most = 0);
  // Of these, a job whose `etag` is given and has changed since is ABORTED.
  absl::StatusOr<v1::JobRecord> cancel_job(const std::string& job, const std::string& reason,
                                           const std::string& etag = "");
  absl::StatusOr<v1::JobRecord> hold_job(const v1::HoldJobRequest& request);
  absl::StatusOr<v1::JobRecord> release_job(const v1::ReleaseJobRequest& request);
  absl::StatusOr<v1::JobRecord> requeue_job(const v1::RequeueJobRequest& request);
  absl::StatusOr<v1::JobRecord> resume_job(const v1::ResumeJobRequest& request);
  absl::StatusOr<v1::DeleteJobResponse> delete_job(const v1::DeleteJobRequest& request);
  absl::StatusOr<std::vector<v1::Attempt>> list_attempts(const std::string& job);
  absl::StatusOr<std::vector<v1::Worker>> list_workers();
  absl::StatusOr<std::vector<v1::Queue>> list_queues();
  absl::StatusOr<std::vector<v1::Project>> list_projects();
  absl::StatusOr<v1::JobRecord> reprioritize_job(const v1::ReprioritizeJobRequest& request);
  // `ordered`: READY, CORDONED or DRAINING.
  absl::StatusOr<v1::Worker> order_worker(const std::string& worker, v1::Worker::State ordered,
                                          const std::string& reason);

  absl::StatusOr<v1::Worker> get_worker(const std::string& worker);
  absl::Status forget_worker(const std::string& worker);

  // Calls `changed` with each new record until it is terminal, `changed` returns false, or the job is gone. Goes on
  // after the scheduler was away; `away` is called once each time with the reason.
  absl::StatusOr<v1::JobRecord> watch_job(const std::string& job,
                                          const std::function<bool(const v1::JobRecord&)>& changed,
                                          const std::function<void(const absl::Status&)>& away);
  // Hands over each event of `subject` (empty: of all) once, the oldest first; with `follow` until `take` returns
  // false. Goes on from the last revision after the scheduler was away.
  absl::Status watch_events(const std::string& subject, bool follow, const std::function<bool(const v1::Event&)>& take,
                            const std::function<void(const absl::Status&)>& away);
  // Writes a backup of the scheduler's journal to a file that appears whole, or not at all; its size in bytes. A
  // regular file that is there is replaced, anything else is FAILED_PRECONDITION.
  absl::StatusOr<uint64_t> backup(const std::string& path);
  // Has the scheduler read its files again; with `validate_only` it says what would change.
  absl::StatusOr<v1::ReloadResponse> reload(bool validate_only);
  // Hands pieces of a rank's log to `take`, from the first byte or its last `tail_lines` lines (0: all); with `follow`
  // until the attempt (0: the job) ends.
  absl::Status read_logs(const std::string& name, uint32_t attempt, uint32_t rank, bool follow,
                         const std::function<void(const v1::ReadLogsResponse&)>& take, uint32_t tail_lines = 0);

  static const absl::Duration kCallTimeout;
  static const absl::Duration kCreateTimeout;  // it includes a plan
  static const absl::Duration kResolveTimeout;
  static const absl::Duration kCreateGroupTimeout;
  static const absl::Duration kRetryTimeout;

 private:
  // One unary call with deadline and retries.
  template <typename Response, typename Call>
  absl::StatusOr<Response> call(absl::Duration timeout, Call once, absl::Time latest = absl::InfiniteFuture());
  absl::Status from_grpc(const grpc::Status& status) const;
  // Speaks with the address that is the search's now.
  void connect();
  // A call ended with UNAVAILABLE: the next goes to whom the answer names, or to the next address. Behind a single
  // address that leads to several schedulers another connection may come to another.
  void look_elsewhere(const grpc::ClientContext& context);

  std::string server_;
  ServerSearch search_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  bool several_;  // schedulers may answer
  absl::Duration retry_timeout_;
  const Explain explain_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> jobs_;
  std::unique_ptr<v1::GroupService::Stub> groups_;
  std::unique_ptr<v1::WorkerService::Stub> workers_;
  std::unique_ptr<v1::QueueService::Stub> queues_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

bool is_terminal(v1::JobRecord::State state);
// Is it a group's name? A job's id ends otherwise, and begins otherwise than "groups/".
bool names_group(const std::string& name);
// "groups/ID" for "ID" and for itself.
std::string group_name(const std::string& group);
// "jobs/ID" for "ID" and for itself.
std::string job_name(const std::string& job);
// "workers/ID" for "ID" and for itself.
std::string worker_name(const std::string& worker);

}  // namespace galleon
