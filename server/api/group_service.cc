// What users call for groups of jobs: create, get, list.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "galleon/v1/groups.grpc.pb.h"
#include "server/api/group_requests.h"
#include "server/api/job_requests.h"
#include "server/api/pages.h"
#include "server/api/plan_each.h"
#include "server/api/services.h"
#include "server/api/unary.h"
#include "server/api/visible.h"
#include "server/core/refusal.h"

namespace galleon::server {

namespace {

// What a page costs: an answer stays in memory until it is taken, and the decisions wait while members are counted.
constexpr size_t kLargestPageBytes = 1 << 20;
constexpr size_t kMostDescribed = 1'000;

// Of the group as the caller may see it.
std::function<bool(const v1::JobRecord&)> seen_by(const Unary& call) {
  return [call](const v1::JobRecord& record) { return call.may(Role::kViewer, record.project()); };
}

class GroupService final : public v1::GroupService::CallbackService, public StoppableService {
 public:
  explicit GroupService(const ServiceContext& context) : context_(context) {}
  grpc::Service* service() override { return this; }
  void shut_down() override {}

  grpc::ServerUnaryReactor* CreateGroup(grpc::CallbackServerContext* context, const v1::CreateGroupRequest* request,
                                        v1::CreateGroupResponse* response) override {
    const Unary call(context, context_, "CreateGroup", Role::kSubmitter, Unary::Kind::kChanges);
    call.about(request->group_name());
    if (call.refused()) return call.reactor();
    if (const absl::Status status = check_group_request(*request, context_); !status.ok()) {
      call.finish(status);
      return call.reactor();
    }
    // As with one job: a repeated request is answered without planning again, an impossible one without planning.
    call.on_loop([this, call, request, response](Turn& turn) {
      const absl::StatusOr<Scheduler::GroupSubmission> submission = admitted(turn, call, *request);
      if (!submission.ok()) return call.finish(submission.status());
      const absl::StatusOr<const v1::GroupState*> known = turn.scheduler.find_group_request(*submission);
      if (!known.ok()) return call.finish(known.status());
      if (*known != nullptr) {
        if (call.require(Role::kSubmitter, (*known)->group().project()))
          answer(turn, call, (*known)->group().group_id(), response);
        return;
      }
      if (absl::Status refused = check_new(turn, call, *submission); !refused.ok()) return call.finish(refused);
      std::vector<v1::Job> jobs;
      for (const Scheduler::Submission& member : submission->members) jobs.push_back(member.job);
      plan_each(*context_.planner, std::move(jobs), call.caller(),
                [this, call, request, response](std::vector<v1::MemoryPlan> plans, const PlanFailure* failure) {
                  if (failure != nullptr) {
                    const absl::Status told(failure->status.code(),
                                            absl::StrCat("members[", failure->index, "]: ", failure->status.message()));
                    return call.finish(with_reason(told, v1::ErrorInfo::PLAN_FAILED));
                  }
                  call.on_loop([this, call, request, response, plans = std::move(plans)](Turn& again) {
                    create(again, call, *request, plans, response);
                  });
                });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* GetGroup(grpc::CallbackServerContext* context, const v1::GetGroupRequest* request,
                                     v1::Group* response) override {
    const Unary call(context, context_, "GetGroup", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const std::string id = group_id_of(request->name());
      if (const absl::Status seen = check_group_seen(turn, call, id); !seen.ok()) return call.finish(seen);
      *response = turn.scheduler.describe(*turn.scheduler.state().group(id), seen_by(call));
      turn.after_commit.push_back([call] { call.finish(absl::OkStatus()); });
    });
    return call.reactor();
  }

  grpc::ServerUnaryReactor* ListGroups(grpc::CallbackServerContext* context, const v1::ListGroupsRequest* request,
                                       v1::ListGroupsResponse* response) override {
    const Unary call(context, context_, "ListGroups", Role::kViewer);
    call.on_loop([call, request, response](Turn& turn) {
      const absl::Status status = list(turn, call, *request, *response);
      turn.after_commit.push_back([call, status] { call.finish(status); });
    });
    return call.reactor();
  }

 private:
  // What is known without a plan of a group that is new. From here on its jobs count as submitted.
  absl::Status check_new(const Turn& turn, const Unary& call, const Scheduler::GroupSubmission& submission) const {
    const Scheduler& scheduler = turn.scheduler;
    for (const Scheduler::Submission& member : submission.members)
      RETURN_IF_ERROR(check_after(scheduler.state(), call.identity(), member.job));
    absl::Status checked = scheduler.check_group(submission);
    const QueueConfig* queue = scheduler.queue_config(queue_of(submission.members.front().job));
    if (queue == nullptr) return checked;
    RETURN_IF_ERROR(count_refusal(context_, queue->project, checked));
    return count_refusal(
        context_, queue->project,
        context_.submits->take(scheduler.options().projects, queue->project, call.caller(), submission.members.size()));
  }

  // Newest first; the token is the number of the last group of the page before. A page may end before its size.
  static absl::Status list(Turn& turn, const Unary& call, const v1::ListGroupsRequest& request,
                           v1::ListGroupsResponse& response) {
    ASSIGN_OR_RETURN(const int page, page_size(request.page_size()));
    uint64_t below = UINT64_MAX;
    if (!request.page_token().empty() && (!absl::SimpleAtoi(request.page_token(), &below) || below == 0))
      return foreign_token(request.page_token(), "ListGroups");
    const auto& groups = turn.scheduler.state().groups();
    uint64_t last = 0;
    size_t bytes = 0;
    size_t members = 0;
    for (auto it = std::make_reverse_iterator(groups.lower_bound(below)); it != groups.rend(); ++it) {
      const v1::Group& group = it->second.group();
      if (!call.may(Role::kViewer, group.project())) continue;
      if (response.groups_size() == page || bytes > kLargestPageBytes || members > kMostDescribed) {
        response.set_next_page_token(absl::StrCat(last));
        break;
      }
      v1::Group& added = *response.add_groups();
      added = turn.scheduler.describe(it->second, seen_by(call));
      bytes += added.ByteSizeLong();
      members += turn.scheduler.state().members(group.group_id()).size();
      last = it->first;
    }
    return absl::OkStatus();
  }

  // The submission, if the caller may make it. The queue of a member may come to another project meanwhile, so that it
  // is asked again when the plans are there.
  absl::StatusOr<Scheduler::GroupSubmission> admitted(Turn& turn, const Unary& call,
                                                      const v1::CreateGroupRequest& request) const {
    Scheduler::GroupSubmission submission = group_submission(request, call.caller(), context_.jobs_folder);
    for (Scheduler::Submission& member : submission.members) {
      // A queue that is not there is told of by the scheduler.
      const QueueConfig* config = turn.scheduler.queue_config(queue_of(member.job));
      if (config != nullptr) RETURN_IF_ERROR(require_role(call.identity(), Role::kSubmitter, config->project));
      ASSIGN_OR_RETURN(member.readable_folder, check_resume(turn, call, member.job, context_.jobs_folder));
    }
    return submission;
  }

  void create(Turn& turn, const Unary& call, const v1::CreateGroupRequest& request,
              const std::vector<v1::MemoryPlan>& plans, v1::CreateGroupResponse* response) {
    absl::StatusOr<Scheduler::GroupSubmission> submission = admitted(turn, call, request);
    if (!submission.ok()) return call.finish(submission.status());
    uint64_t number = turn.scheduler.next_number();
    for (size_t i = 0; i < plans.size(); ++i) {
      Scheduler::Submission& member = submission->members[i];
      member.plan = plans[i];
      member.number = context_.folders->free_number(member.job.name(), number);
      number = member.number + 1;
    }
    if (request.validate_only()) return validate(turn, call, *submission, response);
    const absl::StatusOr<std::string> id = turn.scheduler.submit_group(turn.now, *submission);
    if (!id.ok()) return call.finish(id.status());
    call.about("groups/" + *id);
    answer(turn, call, *id, response);
  }

  static void validate(Turn& turn, const Unary& call, const Scheduler::GroupSubmission& submission,
                       v1::CreateGroupResponse* response) {
    if (absl::Status refused = turn.scheduler.check_group(submission); !refused.ok()) return call.finish(refused);
    if (absl::Status refused = turn.scheduler.check_group_fits(submission); !refused.ok()) return call.finish(refused);
    v1::Group& group = *response->mutable_group();
    group.set_size(static_cast<uint32_t>(submission.members.size()));
    group.set_max_running(submission.max_running);
    group.set_by_validation(submission.members.front().job.sweep().by_validation());
    for (const uint64_t step : submission.rungs) group.add_rungs()->set_step(step);
    for (const v1::SweepSetting& setting : submission.members.front().settings) group.add_keys(setting.key());
    for (const Scheduler::Submission& member : submission.members) {
      v1::JobRecord& job = *response->add_jobs();
      job.mutable_job()->set_name(member.job.name());
      *job.mutable_settings() = {member.settings.begin(), member.settings.end()};
      job.set_queue(queue_of(member.job));
    }
    call.finish(absl::OkStatus());
  }

  static void answer(Turn& turn, const Unary& call, const std::string& id, v1::CreateGroupResponse* response) {
    turn.after_commit.push_back([call, id, response, &scheduler = turn.scheduler, now = turn.now] {
      const v1::GroupState* group = scheduler.state().group(id);
      if (group == nullptr) return call.finish(no_group(id));
      *response->mutable_group() = scheduler.describe(*group, seen_by(call));
      for (const uint64_t number : scheduler.state().members(id)) {
        v1::JobRecord record = scheduler.describe(*scheduler.state().job_by_number(number), now);
        const std::string name = record.job().name();
        record.clear_job();
        record.clear_plan();
        record.mutable_job()->set_name(name);
        *response->add_jobs() = std::move(record);
      }
      call.finish(absl::OkStatus());
    });
  }

  const ServiceContext context_;
};

}  // namespace

std::unique_ptr<StoppableService> make_group_service(const ServiceContext& context) {
  return std::make_unique<GroupService>(context);
}

}  // namespace galleon::server
