// The queues, for users.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "galleon/v1/queues.grpc.pb.h"
#include "server/api/pages.h"
#include "server/api/services.h"
#include "server/api/unary.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

class QueueService final : public v1::QueueService::CallbackService, public StoppableService {
 public:
  explicit QueueService(const ServiceContext& context) : context_(context) {}
  grpc::Service* service() override { return this; }
  void shut_down() override {}

  grpc::ServerUnaryReactor* ListQueues(grpc::CallbackServerContext* context, const v1::ListQueuesRequest* request,
                                       v1::ListQueuesResponse* response) override {
    const Unary call(context, context_, "ListQueues", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const absl::StatusOr<int> page = page_size(request->page_size());
      if (!page.ok()) return call.finish(page.status());
      // The token is the name of the last queue of the page before.
      bool begun = request->page_token().empty();
      for (v1::Queue& queue : turn.scheduler.describe_queues(turn.now)) {
        if (!begun) {
          begun = queue.queue_id() == request->page_token();
          continue;
        }
        if (response->queues_size() == *page) {
          response->set_next_page_token(response->queues(*page - 1).queue_id());
          break;
        }
        show_to(call, queue);
        *response->add_queues() = std::move(queue);
      }
      if (!begun) return call.finish(foreign_token(request->page_token(), "ListQueues"));
      call.finish_after_commit(turn, *response);
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* GetQueue(grpc::CallbackServerContext* context, const v1::GetQueueRequest* request,
                                     v1::Queue* response) override {
    const Unary call(context, context_, "GetQueue", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const std::string name =
          absl::StartsWith(request->name(), "queues/") ? request->name() : "queues/" + request->name();
      for (v1::Queue& queue : turn.scheduler.describe_queues(turn.now)) {
        if (queue.name() != name) continue;
        show_to(call, queue);
        *response = std::move(queue);
        return call.finish_after_commit(turn, *response);
      }
      call.finish(refusal(v1::ErrorInfo::QUEUE_NOT_FOUND, absl::StrCat("there is no queue ", name)));
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ListProjects(grpc::CallbackServerContext* context, const v1::ListProjectsRequest* request,
                                         v1::ListProjectsResponse* response) override {
    const Unary call(context, context_, "ListProjects", Role::kViewer);
    call.on_loop([this, call, request, response](Turn& turn) {
      const absl::StatusOr<int> page = page_size(request->page_size());
      if (!page.ok()) return call.finish(page.status());
      // The token is the name of the last project of the page before; that one may be gone meanwhile.
      for (v1::Project& project : turn.scheduler.describe_projects()) {
        if (project.project_id() <= request->page_token() || !call.may(Role::kViewer, project.project_id())) continue;
        if (response->projects_size() == *page) {
          response->set_next_page_token(response->projects(*page - 1).project_id());
          break;
        }
        project.mutable_use()->set_log_bytes(context_.log_tally->of_project(project.project_id()));
        for (v1::QuotaUse& user : *project.mutable_users())
          user.set_log_bytes(context_.log_tally->of_user(project.project_id(), user.user()));
        *response->add_projects() = std::move(project);
      }
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

 private:
  // Who uses it is for those who may see its jobs.
  static void show_to(const Unary& call, v1::Queue& queue) {
    if (!call.may(Role::kViewer, queue.project())) queue.clear_users();
  }

  const ServiceContext context_;
};

}  // namespace

std::unique_ptr<StoppableService> make_queue_service(const ServiceContext& context) {
  return std::make_unique<QueueService>(context);
}

}  // namespace galleon::server
