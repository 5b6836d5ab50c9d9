#include "client/job_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/job_client_call.h"
#include "common/base/ids.h"
#include "common/base/output_file.h"
#include "common/base/status_macros.h"

namespace galleon {

const absl::Duration JobClient::kCallTimeout = absl::Seconds(20);
const absl::Duration JobClient::kCreateTimeout = absl::Seconds(120);
const absl::Duration JobClient::kResolveTimeout = absl::Seconds(300);
const absl::Duration JobClient::kRetryTimeout = absl::Seconds(2);

namespace {
constexpr absl::Duration kTakeover = absl::Seconds(15);
}  // namespace

bool is_terminal(v1::JobRecord::State state) {
  return state == v1::JobRecord::SUCCEEDED || state == v1::JobRecord::FAILED || state == v1::JobRecord::CANCELLED;
}

std::string job_name(const std::string& job) {
  return absl::StartsWith(job, "jobs/") ? job : "jobs/" + job;
}

std::string worker_name(const std::string& worker) {
  return absl::StartsWith(worker, "workers/") ? worker : "workers/" + worker;
}

JobClient::JobClient(const std::string& server, std::shared_ptr<grpc::ChannelCredentials> credentials,
                     absl::Duration retry_timeout, Explain explain)
    : server_(server),
      search_(parse_server_list(server).value_or(std::vector<std::string>{server})),
      credentials_(credentials == nullptr ? grpc::InsecureChannelCredentials() : std::move(credentials)),
      several_(search_.servers().size() > 1),
      // Of several another takes over within seconds.
      retry_timeout_(several_ ? std::max(retry_timeout, kTakeover) : retry_timeout),
      explain_(std::move(explain)) {
  connect();
}

void JobClient::connect() {
  grpc::ChannelArguments arguments;
  // Of several, one that hangs is left soon: another has taken over by then.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, several_ ? 6000 : 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, several_ ? 5000 : 10000);
  // A new channel is a new connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (several_) arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetMaxReceiveMessageSize(16 << 20);
  channel_ = grpc::CreateCustomChannel(search_.servers()[search_.current()], credentials_, arguments);
  jobs_ = v1::JobService::NewStub(channel_);
  groups_ = v1::GroupService::NewStub(channel_);
  workers_ = v1::WorkerService::NewStub(channel_);
  queues_ = v1::QueueService::NewStub(channel_);
  admin_ = v1::AdminService::NewStub(channel_);
}

void JobClient::look_elsewhere(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto named = trailers.find(kWriterTrailer);
  if (named != trailers.end() && !std::exchange(several_, true)) retry_timeout_ = std::max(retry_timeout_, kTakeover);
  if (!several_) return;
  search_.failed(search_.current(), named == trailers.end()
                                        ? absl::string_view()
                                        : absl::string_view(named->second.data(), named->second.size()));
  connect();
}

absl::Status JobClient::from_grpc(const grpc::Status& status) const {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (code == absl::StatusCode::kUnavailable) {
    if (const std::string fault = explain_ ? explain_() : ""; !fault.empty())
      return absl::UnavailableError(absl::StrCat("cannot speak with the scheduler at ", server_, ": ", fault));
    // gRPC tells every layer; the last is the system's own reason.
    std::string reason = status.error_message();
    const size_t last = reason.rfind(": ");
    if (last != std::string::npos) reason = absl::AsciiStrToLower(reason.substr(last + 2));
    return absl::UnavailableError(
        absl::StrCat("cannot reach the scheduler at ", server_, ": ", reason,
                     "; is galleon-scheduler running? (--server or GALLEON_SERVER names it)"));
  }
  if (code == absl::StatusCode::kDeadlineExceeded)
    return absl::DeadlineExceededError(
        absl::StrCat("the scheduler at ", server_, " did not answer in time; try again"));
  return absl::Status(code, status.error_message());
}

absl::StatusOr<v1::AttachFileResponse> JobClient::attach_file(const v1::AttachFileRequest& request) {
  return call<v1::AttachFileResponse>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->AttachFile(&context, request, &response); });
}

absl::StatusOr<v1::ResolveJobResponse> JobClient::resolve_job(const v1::ResolveJobRequest& request) {
  return call<v1::ResolveJobResponse>(
      kResolveTimeout, [&](auto& context, auto& response) { return jobs_->ResolveJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::create_job(const v1::CreateJobRequest& request) {
  return call<v1::JobRecord>(
      kCreateTimeout, [&](auto& context, auto& response) { return jobs_->CreateJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::get_job(const std::string& job, absl::Time latest) {
  v1::GetJobRequest request;
  request.set_name(job_name(job));
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->GetJob(&context, request, &response); }, latest);
}

absl::StatusOr<std::vector<v1::JobRecord>> JobClient::list_jobs(const v1::ListJobsRequest& request, size_t most) {
  std::vector<v1::JobRecord> all;
  v1::ListJobsRequest page = request;
  do {
    ASSIGN_OR_RETURN(v1::ListJobsResponse response,
                     call<v1::ListJobsResponse>(
                         kCallTimeout, [&](auto& context, auto& r) { return jobs_->ListJobs(&context, page, &r); }));
    all.insert(all.end(), response.jobs().begin(), response.jobs().end());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty() && (most == 0 || all.size() < most));
  if (most != 0 && all.size() > most) all.resize(most);
  return all;
}

absl::StatusOr<v1::JobRecord> JobClient::cancel_job(const std::string& job, const std::string& reason,
                                                    const std::string& etag) {
  v1::CancelJobRequest request;
  request.set_name(job_name(job));
  request.set_etag(etag);
  request.set_reason(reason);
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->CancelJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::hold_job(const v1::HoldJobRequest& request) {
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->HoldJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::release_job(const v1::ReleaseJobRequest& request) {
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->ReleaseJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::requeue_job(const v1::RequeueJobRequest& request) {
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->RequeueJob(&context, request, &response); });
}

absl::StatusOr<v1::JobRecord> JobClient::resume_job(const v1::ResumeJobRequest& request) {
  return call<v1::JobRecord>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->ResumeJob(&context, request, &response); });
}

absl::StatusOr<v1::DeleteJobResponse> JobClient::delete_job(const v1::DeleteJobRequest& request) {
  return call<v1::DeleteJobResponse>(
      kCallTimeout, [&](auto& context, auto& response) { return jobs_->DeleteJob(&context, request, &response); });
}

absl::StatusOr<v1::Worker> JobClient::get_worker(const std::string& worker) {
  v1::GetWorkerRequest request;
  request.set_name(worker_name(worker));
  return call<v1::Worker>(
      kCallTimeout, [&](auto& context, auto& response) { return workers_->GetWorker(&context, request, &response); });
}

absl::Status JobClient::forget_worker(const std::string& worker) {
  v1::ForgetWorkerRequest request;
  request.set_name(worker_name(worker));
  return call<v1::ForgetWorkerResponse>(
             kCallTimeout,
             [&](auto& context, auto& response) { return workers_->ForgetWorker(&context, request, &response); })
      .status();
}

absl::StatusOr<std::vector<v1::Attempt>> JobClient::list_attempts(const std::string& job) {
  v1::ListAttemptsRequest request;
  request.set_parent(job_name(job));
  ASSIGN_OR_RETURN(v1::ListAttemptsResponse response,
                   call<v1::ListAttemptsResponse>(kCallTimeout, [&](auto& context, auto& r) {
                     return jobs_->ListAttempts(&context, request, &r);
                   }));
  return std::vector<v1::Attempt>(response.attempts().begin(), response.attempts().end());
}

absl::StatusOr<std::vector<v1::Worker>> JobClient::list_workers() {
  std::vector<v1::Worker> all;
  v1::ListWorkersRequest page;
  do {
    ASSIGN_OR_RETURN(v1::ListWorkersResponse response,
                     call<v1::ListWorkersResponse>(kCallTimeout, [&](auto& context, auto& r) {
                       return workers_->ListWorkers(&context, page, &r);
                     }));
    all.insert(all.end(), response.workers().begin(), response.workers().end());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty());
  return all;
}

absl::StatusOr<std::vector<v1::Queue>> JobClient::list_queues() {
  std::vector<v1::Queue> all;
  v1::ListQueuesRequest page;
  do {
    ASSIGN_OR_RETURN(v1::ListQueuesResponse response,
                     call<v1::ListQueuesResponse>(kCallTimeout, [&](auto& context, auto& r) {
                       return queues_->ListQueues(&context, page, &r);
                     }));
    all.insert(all.end(), response.queues().begin(), response.queues().end());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty());
  return all;
}

absl::StatusOr<std::vector<v1::Project>> JobClient::list_projects() {
  std::vector<v1::Project> all;
  v1::ListProjectsRequest page;
  do {
    ASSIGN_OR_RETURN(v1::ListProjectsResponse response,
                     call<v1::ListProjectsResponse>(kCallTimeout, [&](auto& context, auto& r) {
                       return queues_->ListProjects(&context, page, &r);
                     }));
    all.insert(all.end(), response.projects().begin(), response.projects().end());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty());
  return all;
}

absl::StatusOr<v1::JobRecord> JobClient::reprioritize_job(const v1::ReprioritizeJobRequest& request) {
  return call<v1::JobRecord>(kCallTimeout, [&](auto& context, auto& response) {
    return jobs_->ReprioritizeJob(&context, request, &response);
  });
}

absl::StatusOr<v1::Worker> JobClient::order_worker(const std::string& worker, v1::Worker::State ordered,
                                                   const std::string& reason) {
  const std::string name = worker_name(worker);
  return call<v1::Worker>(kCallTimeout, [&](auto& context, auto& response) {
    if (ordered == v1::Worker::READY) {
      v1::UndrainWorkerRequest request;
      request.set_name(name);
      return workers_->UndrainWorker(&context, request, &response);
    }
    if (ordered == v1::Worker::CORDONED) {
      v1::CordonWorkerRequest request;
      request.set_name(name);
      request.set_reason(reason);
      return workers_->CordonWorker(&context, request, &response);
    }
    v1::DrainWorkerRequest request;
    request.set_name(name);
    request.set_reason(reason);
    return workers_->DrainWorker(&context, request, &response);
  });
}

absl::Status JobClient::watch_events(const std::string& subject, bool follow,
                                     const std::function<bool(const v1::Event&)>& take,
                                     const std::function<void(const absl::Status&)>& away) {
  v1::WatchEventsRequest request;
  request.set_subject(subject);
  request.set_follow(follow);
  const absl::Time start = absl::Now();
  bool reached = false;
  bool told_away = false;
  while (true) {
    channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + absl::Milliseconds(500)));
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader = jobs_->WatchEvents(&context, request);
    v1::WatchEventsResponse response;
    while (reader->Read(&response)) {
      reached = true;
      told_away = false;
      for (const v1::Event& event : response.events()) {
        if (take(event)) continue;
        context.TryCancel();
        return absl::OkStatus();
      }
      request.set_after_revision(response.revision());
    }
    const grpc::Status status = reader->Finish();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) look_elsewhere(context);
    if (status.ok()) return absl::OkStatus();
    const bool again = status.error_code() == grpc::StatusCode::UNAVAILABLE &&
                       ((reached && follow) || absl::Now() < start + retry_timeout_);
    if (!again) return from_grpc(status);
    if (reached && !told_away) away(from_grpc(status));
    told_away |= reached;
    absl::SleepFor(absl::Milliseconds(500));
  }
}

absl::StatusOr<v1::ReloadResponse> JobClient::reload(bool validate_only) {
  v1::ReloadRequest request;
  request.set_validate_only(validate_only);
  return call<v1::ReloadResponse>(
      kCallTimeout, [&](auto& context, auto& response) { return admin_->Reload(&context, request, &response); });
}

absl::StatusOr<uint64_t> JobClient::backup(const std::string& path) {
  RETURN_IF_ERROR(check_replaceable(path));
  const std::string partial = absl::StrCat(path, ".partial-", random_hex(8));
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  if (!file) return absl::PermissionDeniedError(absl::StrCat("cannot write ", partial));
  // A stream that has begun is not begun again: whoever serves is found before.
  if (const auto queues = list_queues(); !queues.ok() && queues.status().code() == absl::StatusCode::kUnavailable) {
    std::remove(partial.c_str());
    return queues.status();
  }
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::BackupResponse>> reader = admin_->Backup(&context, v1::BackupRequest());
  v1::BackupResponse response;
  uint64_t bytes = 0;
  uint64_t total = 0;
  while (reader->Read(&response)) {
    file.write(response.data().data(), static_cast<std::streamsize>(response.data().size()));
    bytes += response.data().size();
    total = response.total_bytes();
  }
  const grpc::Status status = reader->Finish();
  file.close();
  absl::Status result = status.ok() ? absl::OkStatus() : from_grpc(status);
  if (result.ok() && (!file || bytes != total)) result = absl::DataLossError(absl::StrCat("cannot write ", partial));
  if (result.ok()) result = check_replaceable(path);
  if (result.ok() && std::rename(partial.c_str(), path.c_str()) != 0)
    result = absl::PermissionDeniedError(absl::StrCat("cannot write ", path));
  if (!result.ok()) {
    std::remove(partial.c_str());
    return result;
  }
  return bytes;
}

absl::StatusOr<v1::JobRecord> JobClient::watch_job(const std::string& job,
                                                   const std::function<bool(const v1::JobRecord&)>& changed,
                                                   const std::function<void(const absl::Status&)>& away) {
  v1::WatchJobRequest request;
  request.set_name(job_name(job));
  v1::JobRecord last;
  bool told_away = false;
  // A first call that finds nobody is an error; later on, a scheduler that restarts is waited for.
  if (absl::StatusOr<v1::JobRecord> first = get_job(job); !first.ok()) return first.status();
  while (true) {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader = jobs_->WatchJob(&context, request);
    v1::WatchJobResponse response;
    while (reader->Read(&response)) {
      told_away = false;
      last = response.job();
      if (!changed(last)) {
        context.TryCancel();
        return last;
      }
    }
    const grpc::Status status = reader->Finish();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) look_elsewhere(context);
    if (is_terminal(last.state())) return last;
    if (!status.ok() && status.error_code() != grpc::StatusCode::UNAVAILABLE) return from_grpc(status);
    if (!status.ok() && !told_away) {
      away(from_grpc(status));
      told_away = true;
    }
    absl::SleepFor(absl::Milliseconds(500));
  }
}

absl::Status JobClient::read_logs(const std::string& name, uint32_t attempt, uint32_t rank, bool follow,
                                  const std::function<void(const v1::ReadLogsResponse&)>& take, uint32_t tail_lines) {
  v1::ReadLogsRequest request;
  request.set_tail_lines(tail_lines);
  request.set_name(job_name(name));
  request.set_attempt(attempt);
  request.set_rank(rank);
  request.set_follow(follow);
  const absl::Time start = absl::Now();
  uint32_t seen_attempt = 0;
  bool resumed = false;
  while (true) {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::ReadLogsResponse>> reader = jobs_->ReadLogs(&context, request);
    v1::ReadLogsResponse response;
    while (reader->Read(&response)) {
      take(response);
      seen_attempt = response.attempt();
      request.set_attempt(attempt != 0 ? attempt : seen_attempt);
      request.set_offset(response.offset() + response.data().size());
      request.clear_tail_lines();
    }
    const grpc::Status status = reader->Finish();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) look_elsewhere(context);
    if (status.ok()) {
      // A stream that goes on within an attempt ends with it; the job's later attempts are asked for one by one.
      if (!resumed || attempt != 0 || !follow) return absl::OkStatus();
      const absl::StatusOr<v1::JobRecord> job = get_job(name);
      if (!job.ok() && job.status().code() != absl::StatusCode::kUnavailable) return job.status();
      if (job.ok() && job->attempts() > seen_attempt) {
        request.set_attempt(++seen_attempt);
        request.set_offset(0);
        continue;
      }
      if (job.ok() && is_terminal(job->state())) return absl::OkStatus();
      absl::SleepFor(absl::Milliseconds(500));
      continue;
    }
    resumed = seen_attempt != 0;
    // What has been read is not asked for again.
    const bool again = status.error_code() == grpc::StatusCode::UNAVAILABLE &&
                       (seen_attempt != 0 || absl::Now() < start + retry_timeout_);
    if (!again) return from_grpc(status);
    absl::SleepFor(absl::Milliseconds(500));
  }
}

}  // namespace galleon
