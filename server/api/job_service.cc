// What users call: create, get, list, change, watch, attempts, logs.
#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "galleon/v1/jobs.grpc.pb.h"
#include "server/api/job_lists.h"
#include "server/api/job_requests.h"
#include "server/api/metric_files.h"
#include "server/api/metric_series.h"
#include "server/api/services.h"
#include "server/api/unary.h"
#include "server/api/visible.h"
#include "server/api/watches.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

constexpr size_t kLongestReason = 1024;

class JobService final : public v1::JobService::CallbackService, public StoppableService {
 public:
  explicit JobService(const ServiceContext& context) : context_(context), logs_(context.logs) {
    context_.loop->add_round_observer([this](Scheduler& scheduler, Now now) {
      watches_.feed(scheduler, now);
      events_.feed(scheduler, now);
      logs_.feed(scheduler, now);
    });
  }

  grpc::Service* service() override { return this; }

  void shut_down() override {
    (void)context_.loop->post(Lane::kFleet, "", [this](Turn&) {
      watches_.shut_down();
      events_.shut_down();
      logs_.shut_down();
      context_.resolver->shut_down();
    });
    context_.attachments->shut_down();
  }

  grpc::ServerUnaryReactor* AttachFile(grpc::CallbackServerContext* context, const v1::AttachFileRequest* request,
                                       v1::AttachFileResponse* response) override {
    const Unary call(context, context_, "AttachFile", Role::kSubmitter);
    if (call.refused()) return call.reactor();
    context_.attachments->take(call.caller(), *request, [call, response](const absl::StatusOr<uint64_t>& bytes) {
      if (bytes.ok()) response->set_bytes(*bytes);
      call.finish(bytes.status());
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext* context, const v1::CreateJobRequest* request,
                                      v1::JobRecord* response) override {
    const Unary call(context, context_, "CreateJob", Role::kSubmitter, Unary::Kind::kChanges);
    call.about(request->job().name());
    absl::Status status = check_request(*request);
    if (status.ok() && context_.validate_job) status = context_.validate_job(request->job());
    if (!status.ok()) {
      call.finish(status);
      return call.reactor();
    }
    if (call.refused()) return call.reactor();
    // A repeated request is answered without planning again; an impossible one without planning at all.
    call.on_loop([this, call, request, response](Turn& turn) {
      if (!may_submit(turn, call, queue_of(request->job()))) return;
      const absl::StatusOr<std::string> readable = check_resume(turn, call, request->job(), context_.jobs_folder);
      if (!readable.ok()) return call.finish(readable.status());
      const absl::StatusOr<const v1::JobState*> known = find_request(turn, call, *request);
      if (!known.ok()) return call.finish(known.status());
      if (*known != nullptr) return answer(turn, call, **known, response);
      if (request->job().attached().empty() || request->validate_only()) return plan(turn, call, *request, response);
      context_.attachments->check(
          call.caller(), request->request_id(), request->job(),
          [this, call, request, response](const absl::Status& there) {
            if (!there.ok()) return call.finish(there);
            call.on_loop([this, call, request, response](Turn& again) { plan(again, call, *request, response); });
          });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ResolveJob(grpc::CallbackServerContext* context, const v1::ResolveJobRequest* request,
                                       v1::ResolveJobResponse* response) override {
    const Unary call(context, context_, "ResolveJob", Role::kSubmitter);
    if (const absl::Status status = check_request(*request); !status.ok()) {
      call.finish(status);
      return call.reactor();
    }
    if (call.refused()) return call.reactor();
    call.on_loop([this, call, request, response](Turn& turn) {
      if (!may_submit(turn, call, queue_of(request->job()))) return;
      const absl::StatusOr<std::string> readable = check_resume(turn, call, request->job(), context_.jobs_folder);
      if (!readable.ok()) return call.finish(readable.status());
      absl::Status refused = check_after(turn.scheduler.state(), call.identity(), request->job());
      if (refused.ok()) refused = turn.scheduler.check_scheduling(request->job());
      if (!refused.ok()) return call.finish(refused);
      v1::ResolveOrder order;
      *order.mutable_job() = request->job();
      order.set_readable_folder(*readable);
      if (!request->job().attached().empty()) {
        order.set_attached_folder(context_.attachments->waiting_folder(call.caller(), request->request_id()));
        *order.mutable_job() = with_attached_below(request->job(), order.attached_folder());
      }
      context_.resolver->resolve(turn.scheduler, turn.now, std::move(order), call.caller(),
                                 [call, response](const absl::StatusOr<v1::ResolveJobResponse>& answer) {
                                   if (answer.ok()) *response = *answer;
                                   call.finish(answer.status());
                                 });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::JobRecord* response) override {
    const Unary call(context, context_, "GetJob", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const auto job = find_job(turn.scheduler.state(), call.identity(), request->name());
      if (!job.ok()) return call.finish(job.status());
      answer(turn, call, **job, response);
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override {
    const Unary call(context, context_, "ListJobs", Role::kViewer);
    list_jobs(call, *context_.readers, *request, *response);
    return call.reactor();
  }

  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::JobRecord* response) override {
    const Unary call(context, context_, "CancelJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    return order(call, request, request->reason(), response, [call, request](Turn& turn) {
      return turn.scheduler.cancel(turn.now, job_id_of(request->name()), request->etag(), request->reason(),
                                   call.caller());
    });
  }

  grpc::ServerUnaryReactor* HoldJob(grpc::CallbackServerContext* context, const v1::HoldJobRequest* request,
                                    v1::JobRecord* response) override {
    const Unary call(context, context_, "HoldJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    return order(call, request, request->reason(), response,
                 [call, request](Turn& turn) { return turn.scheduler.hold(turn.now, *request, call.caller()); });
  }

  grpc::ServerUnaryReactor* ReleaseJob(grpc::CallbackServerContext* context, const v1::ReleaseJobRequest* request,
                                       v1::JobRecord* response) override {
    const Unary call(context, context_, "ReleaseJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    return order(call, request, "", response,
                 [call, request](Turn& turn) { return turn.scheduler.release(turn.now, *request, call.caller()); });
  }

  grpc::ServerUnaryReactor* RequeueJob(grpc::CallbackServerContext* context, const v1::RequeueJobRequest* request,
                                       v1::JobRecord* response) override {
    const Unary call(context, context_, "RequeueJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    return order(call, request, request->reason(), response,
                 [call, request](Turn& turn) { return turn.scheduler.requeue(turn.now, *request, call.caller()); });
  }

  grpc::ServerUnaryReactor* ResumeJob(grpc::CallbackServerContext* context, const v1::ResumeJobRequest* request,
                                      v1::JobRecord* response) override {
    const Unary call(context, context_, "ResumeJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    return order(call, request, "", response,
                 [call, request](Turn& turn) { return turn.scheduler.resume(turn.now, *request, call.caller()); });
  }

  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* context, const v1::DeleteJobRequest* request,
                                      v1::DeleteJobResponse* response) override {
    const Unary call(context, context_, "DeleteJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    call.on_loop([this, call, request, response](Turn& turn) {
      if (!may_change(turn, call, job_id_of(request->name()))) return;
      absl::StatusOr<v1::DeleteJobResponse> deleted =
          turn.scheduler.remove(turn.now, *request, context_.jobs_folder, call.caller());
      if (!deleted.ok()) return call.finish(deleted.status());
      *response = *std::move(deleted);
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ReprioritizeJob(grpc::CallbackServerContext* context,
                                            const v1::ReprioritizeJobRequest* request,
                                            v1::JobRecord* response) override {
    const Unary call(context, context_, "ReprioritizeJob", Role::kSubmitter, Unary::Kind::kChanges,
                     "jobs/" + job_id_of(request->name()));
    call.on_loop([call, request, response](Turn& turn) {
      if (!may_change(turn, call, job_id_of(request->name()))) return;
      if (!request->queue().empty() && !may_submit(turn, call, request->queue())) return;
      const absl::Status status = turn.scheduler.reprioritize(turn.now, *request, call.caller());
      if (!status.ok()) return call.finish(status);
      answer(turn, call, *turn.scheduler.state().job(job_id_of(request->name())), response);
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ListAttempts(grpc::CallbackServerContext* context, const v1::ListAttemptsRequest* request,
                                         v1::ListAttemptsResponse* response) override {
    const Unary call(context, context_, "ListAttempts", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const auto found = find_job(turn.scheduler.state(), call.identity(), request->parent());
      if (!found.ok()) return call.finish(found.status());
      const v1::JobState& job = **found;
      for (const v1::AttemptState& attempt : job.attempts()) *response->add_attempts() = attempt.attempt();
      // With the step that it has got to.
      if (live_attempt(job) != nullptr)
        *response->mutable_attempts(response->attempts_size() - 1) = turn.scheduler.describe(job, turn.now).attempt();
      call.finish_after_commit(turn, *response);
    });
    return call.reactor();
  }

  grpc::ServerWriteReactor<v1::WatchJobResponse>* WatchJob(grpc::CallbackServerContext* context,
                                                           const v1::WatchJobRequest* request) override {
    auto* stream = new Watches::WatchStream(context_.metrics, "WatchJob");
    const absl::StatusOr<Caller> caller = admit(stream, *context);
    if (!caller.ok()) {
      stream->finish(caller.status());
      return stream;
    }
    const std::string id = job_id_of(request->name());
    const absl::Status posted =
        context_.loop->post(Lane::kReads, caller->name,
                            [this, stream, id, after = request->after_revision(), caller = *caller](Turn& turn) {
                              const auto job = find_job(turn.scheduler.state(), caller, id);
                              if (!job.ok()) return stream->finish(job.status());
                              if (!watches_.add(stream, turn.scheduler, id, after, Viewer(context_.access, caller)))
                                stream->finish(too_many());
                            });
    if (!posted.ok()) stream->finish(posted);
    return stream;
  }

  grpc::ServerWriteReactor<v1::ReadLogsResponse>* ReadLogs(grpc::CallbackServerContext* context,
                                                           const v1::ReadLogsRequest* request) override {
    auto* stream = new LogStreams::LogStream(context_.metrics, "ReadLogs");
    const absl::StatusOr<Caller> caller = admit(stream, *context);
    if (!caller.ok()) {
      stream->finish(caller.status());
      return stream;
    }
    if (request->tail_lines() > 0 && request->offset() > 0) {
      stream->finish(absl::InvalidArgumentError("tail_lines: contradicts offset; give one of the two"));
      return stream;
    }
    const absl::Status posted = context_.loop->post(
        Lane::kReads, caller->name, [this, stream, wanted = *request, caller = *caller](Turn& turn) {
          const auto found = find_job(turn.scheduler.state(), caller, wanted.name());
          if (!found.ok()) return stream->finish(found.status());
          const v1::JobState* job = *found;
          if (wanted.attempt() > job->record().attempts()) {
            return stream->finish(absl::NotFoundError(absl::StrCat(
                job->record().name(), " has had ", job->record().attempts(), " attempts, not ", wanted.attempt())));
          }
          const uint32_t ranks = std::max<uint32_t>(1, job->record().job().parallel().ranks());
          if (wanted.rank() >= ranks) {
            return stream->finish(absl::NotFoundError(
                absl::StrCat(job->record().name(), " has ranks 0 to ", ranks - 1, ", not ", wanted.rank())));
          }
          if (!logs_.add(stream, *job, wanted, Viewer(context_.access, caller))) stream->finish(too_many());
        });
    if (!posted.ok()) stream->finish(posted);
    return stream;
  }

  grpc::ServerUnaryReactor* ReadMetrics(grpc::CallbackServerContext* context, const v1::ReadMetricsRequest* request,
                                        v1::ReadMetricsResponse* response) override {
    const Unary call(context, context_, "ReadMetrics", Role::kViewer);
    if (const absl::Status status = check_metrics_request(*request); !status.ok()) {
      call.finish(status);
      return call.reactor();
    }
    call.on_loop([this, call, request, response](Turn& turn) {
      const auto job = find_job(turn.scheduler.state(), call.identity(), request->name());
      if (!job.ok()) return call.finish(job.status());
      context_.metric_files->read((*job)->record().folder(), *request,
                                  [call, response](absl::StatusOr<v1::ReadMetricsResponse> read) {
                                    const absl::Status status = read.status();
                                    if (read.ok()) *response = *std::move(read);
                                    call.weighs(response->ByteSizeLong());
                                    call.finish(status);
                                  });
    });
    return call.reactor();
  }

  grpc::ServerWriteReactor<v1::WatchEventsResponse>* WatchEvents(grpc::CallbackServerContext* context,
                                                                 const v1::WatchEventsRequest* request) override {
    auto* stream = new EventStreams::EventStream(context_.metrics, "WatchEvents");
    const absl::StatusOr<Caller> caller = admit(stream, *context);
    if (!caller.ok()) {
      stream->finish(caller.status());
      return stream;
    }
    if (request->revision_only() && !request->subject().empty()) {
      stream->finish(absl::InvalidArgumentError("revision_only: is of everything; leave subject out"));
      return stream;
    }
    const absl::Status posted = context_.loop->post(
        Lane::kReads, caller->name, [this, stream, wanted = *request, caller = *caller](Turn& turn) {
          if (const absl::Status may = check_subject(turn.scheduler.state(), caller, wanted.subject()); !may.ok())
            return stream->finish(may);
          v1::WatchEventsRequest from = wanted;
          if (wanted.from_now()) from.set_after_revision(turn.scheduler.state().revision());
          if (!events_.add(stream, from, Viewer(context_.access, caller))) stream->finish(too_many());
        });
    if (!posted.ok()) stream->finish(posted);
    return stream;
  }

 private:
  // Who opens a stream, if it may and has a place left.
  template <typename Stream>
  absl::StatusOr<Caller> admit(Stream* stream, const grpc::ServerContextBase& context) const {
    absl::StatusOr<Caller> caller = authorize(context_, context, Role::kViewer);
    if (!caller.ok()) return caller;
    ASSIGN_OR_RETURN(OpenCalls::Place place, context_.open_calls->enter(share_of(context_, context, *caller)));
    stream->keep(std::move(place));
    return caller;
  }

  static absl::Status too_many() {
    return refusal(v1::ErrorInfo::TOO_MANY_STREAMS,
                   absl::StrCat(kMostStreams, " streams of this kind are open; close some, or try again later"));
  }

  static void answer(Turn& turn, const Unary& call, const v1::JobState& job, v1::JobRecord* response) {
    // Filled in after the commit, when the pass of the same round has given a queued job its position.
    turn.after_commit.push_back([call, response, &scheduler = turn.scheduler, number = job.number(),
                                 name = job.record().name(), now = turn.now] {
      // Somebody may have taken it away in the same round.
      const v1::JobState* then = scheduler.state().job_by_number(number);
      if (then == nullptr) return call.finish(no_job(name));
      *response = scheduler.describe(*then, now);
      call.finish(absl::OkStatus());
    });
  }

  // An order for one job by who may give it; answers with the job as it is then.
  template <typename Request>
  static grpc::ServerUnaryReactor* order(const Unary& call, const Request* request, const std::string& reason,
                                         v1::JobRecord* response, std::function<absl::Status(Turn&)> change) {
    if (reason.size() > kLongestReason) {
      call.finish(absl::InvalidArgumentError(
          absl::StrCat("reason: is of ", reason.size(), " bytes, at most ", kLongestReason, " are accepted")));
      return call.reactor();
    }
    call.on_loop([call, response, id = job_id_of(request->name()), change = std::move(change)](Turn& turn) {
      if (!may_change(turn, call, id)) return;
      if (const absl::Status status = change(turn); !status.ok()) return call.finish(status);
      answer(turn, call, *turn.scheduler.state().job(id), response);
    });
    return call.reactor();
  }

  // False: the caller has been told. A queue that is not there is left to the change itself.
  static bool may_submit(const Turn& turn, const Unary& call, const std::string& queue) {
    const QueueConfig* config = turn.scheduler.queue_config(queue);
    return config == nullptr || call.require(Role::kSubmitter, config->project);
  }

  // False: the caller has been told.
  static bool may_change(const Turn& turn, const Unary& call, const std::string& id) {
    call.about("jobs/" + id);
    const absl::Status status = find_job(turn.scheduler.state(), call.identity(), id, Role::kSubmitter).status();
    if (!status.ok()) call.finish(status);
    return status.ok();
  }

  // What is known without a plan of a job that is new. From here on it counts as submitted.
  absl::Status check_new(const Turn& turn, const Unary& call, const v1::Job& job) const {
    const Scheduler& scheduler = turn.scheduler;
    RETURN_IF_ERROR(check_after(scheduler.state(), call.identity(), job));
    RETURN_IF_ERROR(scheduler.check_scheduling(job));
    const std::string& project = scheduler.queue_config(queue_of(job))->project;
    RETURN_IF_ERROR(count_refusal(context_, project, scheduler.check_quota(queue_of(job), call.caller())));
    return count_refusal(context_, project,
                         context_.submits->take(scheduler.options().projects, project, call.caller()));
  }

  // `request` lives as long as the call.
  void plan(Turn& turn, const Unary& call, const v1::CreateJobRequest& request, v1::JobRecord* response) {
    if (absl::Status refused = check_new(turn, call, request.job()); !refused.ok()) return call.finish(refused);
    if (const std::optional<v1::MemoryPlan> plan = context_.planner->known(request.job()); plan.has_value())
      return create(turn, call, request, *plan, response);
    context_.planner->plan(request.job(), call.caller(),
                           [this, call, &request, response](absl::StatusOr<v1::MemoryPlan> plan) {
                             if (!plan.ok()) return call.finish(with_reason(plan.status(), v1::ErrorInfo::PLAN_FAILED));
                             call.on_loop([this, call, &request, response, plan = *std::move(plan)](Turn& again) {
                               create(again, call, request, plan, response);
                             });
                           });
  }

  void create(Turn& turn, const Unary& call, const v1::CreateJobRequest& request, const v1::MemoryPlan& plan,
              v1::JobRecord* response) {
    Scheduler& scheduler = turn.scheduler;
    // While its memory was planned the queue may have come to another project.
    if (!may_submit(turn, call, queue_of(request.job()))) return;
    const absl::StatusOr<std::string> readable = check_resume(turn, call, request.job(), context_.jobs_folder);
    if (!readable.ok()) return call.finish(readable.status());
    if (request.validate_only()) {
      const absl::StatusOr<Scheduler::Forecast> forecast =
          scheduler.validate(request.job(), plan, turn.now, request.allow_pending(), call.caller());
      if (!forecast.ok()) return call.finish(forecast.status());
      *response->mutable_job() = request.job();
      *response->mutable_plan() = plan;
      response->set_message(forecast->message);
      response->set_start_estimate_ms(forecast->start_estimate_ms);
      return call.finish(absl::OkStatus());
    }
    Scheduler::Submission submission{request.job(), plan, request.request_id(), context_.jobs_folder, 0, call.caller()};
    submission.allow_pending = request.allow_pending();
    submission.readable_folder = *readable;
    submission.number = context_.folders->free_number(request.job().name(), scheduler.next_number());
    const bool attached = !request.job().attached().empty();
    const std::string folder =
        absl::StrCat(context_.jobs_folder, "/", Scheduler::job_id(request.job(), submission.number));
    if (attached) {
      // Another call with the same id may have come first.
      const absl::StatusOr<const v1::JobState*> known = find_request(turn, call, request);
      if (!known.ok()) return call.finish(known.status());
      if (*known != nullptr) return answer(turn, call, **known, response);
      submission.job = with_attached_below(request.job(), attached_folder_of(folder));
    }
    const absl::StatusOr<std::string> id = scheduler.submit(turn.now, submission);
    if (!id.ok()) return call.finish(id.status());
    if (attached) context_.attachments->hand_over(call.caller(), request.request_id(), folder);
    call.about("jobs/" + *id);
    answer(turn, call, *scheduler.state().job(*id), response);
  }

  const ServiceContext context_;
  Watches watches_;
  EventStreams events_;
  LogStreams logs_;
};

}  // namespace

std::unique_ptr<StoppableService> make_job_service(const ServiceContext& context) {
  return std::make_unique<JobService>(context);
}

}  // namespace galleon::server
