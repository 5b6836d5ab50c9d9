// What daemons call, and the list of workers for users.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/net/bounded_message.h"
#include "galleon/v1/workers.grpc.pb.h"
#include "server/api/pages.h"
#include "server/api/services.h"
#include "server/api/task_thread.h"
#include "server/api/unary.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

constexpr size_t kLargestLogPiece = 384 << 10;
constexpr size_t kLongestReason = 1024;
constexpr size_t kLargestReport = 64 << 10;

// Whatever a worker sends, what is kept of it can be answered to others.
v1::SyncWorkerRequest bounded(const v1::SyncWorkerRequest& request) {
  v1::SyncWorkerRequest copy = request;
  for (v1::RankReport& report : *copy.mutable_ranks()) shrink_message(report, kLargestReport);
  copy.clear_resolved();
  return copy;
}

class WorkerService final : public v1::WorkerService::CallbackService, public StoppableService {
 public:
  explicit WorkerService(const ServiceContext& context) : context_(context) {
    context_.loop->add_round_observer([this](Scheduler& scheduler, Now now) { answer_waiting(scheduler, now); });
    log_writer_.post(context_.count_logs);
  }

  grpc::Service* service() override { return this; }

  void shut_down() override {
    (void)context_.loop->post(Lane::kFleet, "", [this](Turn&) { stopping_ = true; });
  }

  grpc::ServerUnaryReactor* RegisterWorker(grpc::CallbackServerContext* context,
                                           const v1::RegisterWorkerRequest* request,
                                           v1::RegisterWorkerResponse* response) override {
    const Unary call(context, context_, "RegisterWorker", Role::kWorker, Unary::Kind::kChanges);
    call.about("workers/" + request->worker().worker_id());
    absl::Status may = call.identity().may_be_worker(request->worker().worker_id());
    for (const auto& [key, value] : request->worker().labels()) may.Update(call.identity().may_have_label(key, value));
    if (!may.ok()) {
      call.finish(may);
      return call.reactor();
    }
    call.on_loop([this, call, request, response](Turn& turn) {
      const absl::Status status = turn.scheduler.register_worker(turn.now, request->worker());
      if (!status.ok()) return call.finish(status);
      *response->mutable_worker() =
          turn.scheduler.describe(*turn.scheduler.state().worker(request->worker().worker_id()));
      response->set_lease_milliseconds(static_cast<uint64_t>(turn.scheduler.options().lease_ms));
      response->set_sync_milliseconds(static_cast<uint64_t>(turn.scheduler.sync_interval_ms()));
      response->set_jobs_folder(context_.jobs_folder);
      response->set_session(turn.scheduler.session(request->worker().worker_id()));
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* SyncWorker(grpc::CallbackServerContext* context, const v1::SyncWorkerRequest* request,
                                       v1::SyncWorkerResponse* response) override {
    const Unary call(context, context_, "SyncWorker", Role::kWorker);
    if (!call.require_worker(request->worker_id())) return call.reactor();
    call.on_loop([this, call, context, request, response](Turn& turn) {
      // What a daemon that has gone away said last is not news any more.
      if (context->IsCancelled()) return call.finish(absl::CancelledError("the caller went away"));
      const absl::Status status = turn.scheduler.sync(turn.now, bounded(*request));
      if (!status.ok()) return call.finish(status);
      context_.resolver->take(turn.scheduler, turn.now, request->worker_id(), *request);
      if (const auto it = waiting_.find(request->worker_id()); it != waiting_.end()) {
        it->second.call.finish(
            absl::CancelledError(absl::StrCat("a newer call of ", request->worker_id(), " has come")));
        due_.erase({it->second.until_ms, it->first});
        waiting_.erase(it);
      }
      // What the daemon has not seen yet, it is told at once.
      const bool news = turn.scheduler.assignments_revision(request->worker_id()) != request->seen_revision() ||
                        context_.resolver->has_news(request->worker_id());
      const int64_t until = news ? 0 : turn.now.mono_ms + turn.scheduler.granted_wait_ms(*request);
      waiting_.emplace(request->worker_id(),
                       Waiting{call, response, request->sequence(), request->seen_revision(), until});
      due_.emplace(until, request->worker_id());
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* PublishCheckpoint(grpc::CallbackServerContext* context,
                                              const v1::PublishCheckpointRequest* request,
                                              v1::PublishCheckpointResponse*) override {
    const Unary call(context, context_, "PublishCheckpoint", Role::kWorker);
    if (!call.require_worker(request->worker_id())) return call.reactor();
    call.on_loop([call, request](Turn& turn) {
      const absl::Status status = turn.scheduler.publish_checkpoint(turn.now, *request);
      if (!status.ok()) return call.finish(status);
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* AppendLogs(grpc::CallbackServerContext* context, const v1::AppendLogsRequest* request,
                                       v1::AppendLogsResponse* response) override {
    const Unary call(context, context_, "AppendLogs", Role::kWorker);
    if (!call.require_worker(request->worker_id())) return call.reactor();
    if (request->data().size() > kLargestLogPiece) {
      call.finish(absl::InvalidArgumentError(
          absl::StrCat("data: is of ", request->data().size(), " bytes, at most ", kLargestLogPiece, " are accepted")));
      return call.reactor();
    }
    call.on_loop([this, call, request, response](Turn& turn) {
      if (absl::Status status = turn.scheduler.check_log_source(*request); !status.ok()) return call.finish(status);
      const v1::JobRecord& record = turn.scheduler.state().job(request->id().job_id())->record();
      const ProjectQuota quota = quota_of(turn.scheduler.options().projects, record.project());
      // Slow disks hold up the logs, not the scheduler.
      log_writer_.post([this, call, request, response, quota, user = record.owner()] {
        call.finish(append_logs(*request, quota, user, *response));
      });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ListWorkers(grpc::CallbackServerContext* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override {
    const Unary call(context, context_, "ListWorkers", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const absl::StatusOr<int> page = page_size(request->page_size());
      if (!page.ok()) return call.finish(page.status());
      const auto& workers = turn.scheduler.state().workers();
      for (auto it = workers.upper_bound(request->page_token()); it != workers.end(); ++it) {
        if (response->workers_size() == *page) {
          response->set_next_page_token(response->workers(*page - 1).worker_id());
          break;
        }
        v1::Worker worker = turn.scheduler.describe(it->second, sees(call));
        const auto& states = request->states();
        if (!states.empty() && std::find(states.begin(), states.end(), worker.state()) == states.end()) continue;
        *response->add_workers() = std::move(worker);
      }
      call.finish_after_commit(turn, *response);
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* GetWorker(grpc::CallbackServerContext* context, const v1::GetWorkerRequest* request,
                                      v1::Worker* response) override {
    const Unary call(context, context_, "GetWorker", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const v1::Worker* worker = turn.scheduler.state().worker(worker_id_of(request->name()));
      if (worker == nullptr) {
        return call.finish(refusal(v1::ErrorInfo::WORKER_NOT_FOUND,
                                   absl::StrCat("there is no worker workers/", worker_id_of(request->name()))));
      }
      *response = turn.scheduler.describe(*worker, sees(call));
      call.finish_after_commit(turn, *response);
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* CordonWorker(grpc::CallbackServerContext* context, const v1::CordonWorkerRequest* request,
                                         v1::Worker* response) override {
    const Unary call(context, context_, "CordonWorker", Role::kOperator, Unary::Kind::kChanges,
                     "workers/" + worker_id_of(request->name()));
    return order(call, v1::Worker::CORDONED, request->name(), request->reason(), request->etag(), response);
  }

  grpc::ServerUnaryReactor* DrainWorker(grpc::CallbackServerContext* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) override {
    const Unary call(context, context_, "DrainWorker", Role::kOperator, Unary::Kind::kChanges,
                     "workers/" + worker_id_of(request->name()));
    return order(call, v1::Worker::DRAINING, request->name(), request->reason(), request->etag(), response);
  }

  grpc::ServerUnaryReactor* UndrainWorker(grpc::CallbackServerContext* context, const v1::UndrainWorkerRequest* request,
                                          v1::Worker* response) override {
    const Unary call(context, context_, "UndrainWorker", Role::kOperator, Unary::Kind::kChanges,
                     "workers/" + worker_id_of(request->name()));
    return order(call, v1::Worker::READY, request->name(), "", request->etag(), response);
  }

  grpc::ServerUnaryReactor* ForgetWorker(grpc::CallbackServerContext* context, const v1::ForgetWorkerRequest* request,
                                         v1::ForgetWorkerResponse*) override {
    const Unary call(context, context_, "ForgetWorker", Role::kOperator, Unary::Kind::kChanges,
                     "workers/" + worker_id_of(request->name()));
    if (call.refused() || !call.require(Role::kOperator, "*")) return call.reactor();
    call.on_loop([call, request](Turn& turn) {
      const absl::Status status = turn.scheduler.forget_worker(turn.now, *request, call.caller());
      if (!status.ok()) return call.finish(status);
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

 private:
  // Which jobs the caller may be told of.
  static Scheduler::Sees sees(const Unary& call) {
    return [call](const v1::JobRecord& job) { return call.may(Role::kViewer, job.project()); };
  }

  // On the logs' thread.
  absl::Status append_logs(const v1::AppendLogsRequest& request, const ProjectQuota& quota, const std::string& user,
                           v1::AppendLogsResponse& response) {
    // They wait at their workers: what is left of the disk is the journal's.
    if (const std::string full = context_.log_space(); !full.empty())
      return absl::UnavailableError(absl::StrCat("the scheduler takes no logs: ", full));
    const LogFiles::Key key{request.id().job_id(), request.id().attempt(), request.rank()};
    ASSIGN_OR_RETURN(const LogFiles::Appended stored,
                     context_.logs->append(key, request.offset(), request.data(), request.complete(),
                                           context_.log_tally->refusal(quota, user, request.data().size())));
    context_.log_tally->add(key.job_id, {quota.project, user}, stored.added);
    response.set_acknowledged(stored.position);
    return absl::OkStatus();
  }

  struct Waiting {
    Unary call;
    v1::SyncWorkerResponse* response;
    uint64_t sequence;
    uint64_t seen_revision;
    int64_t until_ms;
  };

  grpc::ServerUnaryReactor* order(const Unary& call, v1::Worker::State ordered, const std::string& name,
                                  const std::string& reason, const std::string& etag, v1::Worker* response) {
    // Workers are everybody's.
    if (call.refused() || !call.require(Role::kOperator, "*")) return call.reactor();
    if (reason.size() > kLongestReason) {
      call.finish(absl::InvalidArgumentError(
          absl::StrCat("reason: is of ", reason.size(), " bytes, at most ", kLongestReason, " are accepted")));
      return call.reactor();
    }
    call.about("workers/" + worker_id_of(name));
    call.on_loop([call, ordered, id = worker_id_of(name), reason, etag, response](Turn& turn) {
      const absl::Status status = turn.scheduler.order_worker(turn.now, id, ordered, reason, etag, call.caller());
      if (!status.ok()) return call.finish(status);
      turn.after_commit.push_back([call, id, response, &scheduler = turn.scheduler] {
        *response = scheduler.describe(*scheduler.state().worker(id), sees(call));
        call.finish(absl::OkStatus());
      });
    });
    return call.reactor();
  }

  // After each commit: whoever has something new to be told, or has waited long enough, is answered. What it costs
  // grows with those, not with all that wait.
  void answer_waiting(Scheduler& scheduler, Now now) {
    for (const std::string& id : scheduler.take_changed_workers()) {
      const auto it = waiting_.find(id);
      if (it != waiting_.end() && scheduler.assignments_revision(id) != it->second.seen_revision)
        answer(scheduler, now, it);
    }
    context_.resolver->look(scheduler, now);
    for (const std::string& id : context_.resolver->take_changed()) {
      const auto it = waiting_.find(id);
      if (it != waiting_.end() && context_.resolver->has_news(id)) answer(scheduler, now, it);
    }
    while (!due_.empty() && (stopping_ || now.mono_ms >= due_.begin()->first))
      answer(scheduler, now, waiting_.find(due_.begin()->second));
  }

  void answer(Scheduler& scheduler, Now now, std::map<std::string, Waiting>::iterator it) {
    const Waiting& waiting = it->second;
    if (stopping_) {
      waiting.call.finish(absl::UnavailableError("the scheduler shuts down; call again soon"));
    } else {
      *waiting.response = scheduler.assignments(now, it->first, waiting.sequence);
      context_.resolver->list(it->first, *waiting.response);
      waiting.call.finish(absl::OkStatus());
    }
    due_.erase({waiting.until_ms, it->first});
    waiting_.erase(it);
  }

  const ServiceContext context_;
  std::map<std::string, Waiting> waiting_;
  std::set<std::pair<int64_t, std::string>> due_;  // of each that waits: until when, its worker
  bool stopping_ = false;
  TaskThread log_writer_;
};

}  // namespace

std::unique_ptr<StoppableService> make_worker_service(const ServiceContext& context) {
  return std::make_unique<WorkerService>(context);
}

}  // namespace galleon::server
