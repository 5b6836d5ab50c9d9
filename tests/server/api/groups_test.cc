#include "absl/strings/match.h"
#include "galleon/v1/groups.grpc.pb.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

class GroupCalls : public ServerTest {
 protected:
  static v1::CreateGroupRequest request_of(int jobs) {
    v1::CreateGroupRequest request;
    request.set_group_name("try");
    request.set_request_id("once");
    for (int i = 0; i < jobs; ++i) {
      v1::CreateGroupRequest::Member& member = *request.add_members();
      *member.mutable_job() = job_named(absl::StrCat("try-", i));
      member.mutable_job()->mutable_optimizer()->set_learning_rate(0.01 * (i + 1));
      member.mutable_job()->mutable_training()->set_steps(100);
      member.mutable_job()->mutable_training()->set_log_every(10);
      member.mutable_job()->mutable_checkpoint()->set_directory("checkpoints");
      v1::SweepSetting& setting = *member.add_settings();
      setting.set_key("optimizer.learning_rate");
      setting.set_value(absl::StrCat(0.01 * (i + 1)));
    }
    return request;
  }
  grpc::Status create(const v1::CreateGroupRequest& request, v1::CreateGroupResponse& response) {
    return v1::GroupService::NewStub(channel_)->CreateGroup(context().get(), request, &response);
  }
  std::string refused(const v1::CreateGroupRequest& request) {
    v1::CreateGroupResponse response;
    const grpc::Status status = create(request, response);
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
    return status.error_message();
  }
};

TEST_F(GroupCalls, OneRequestMakesAllJobsWithOnePlanAndARepeatedOneNothingMore) {
  start();
  v1::CreateGroupResponse response;
  v1::CreateGroupRequest request = request_of(40);
  request.set_validate_only(true);
  ASSERT_TRUE(create(request, response).ok());
  EXPECT_EQ(response.jobs_size(), 40);
  EXPECT_EQ(response.jobs(3).job().name(), "try-3");
  EXPECT_EQ(times_planned(), 1);
  request.set_validate_only(false);
  response.Clear();
  const grpc::Status made = create(request, response);
  ASSERT_TRUE(made.ok()) << made.error_message();
  EXPECT_EQ(response.group().group_id(), "try-g1");
  ASSERT_EQ(response.jobs_size(), 40);
  EXPECT_EQ(response.jobs(39).job_id(), "try-39-40");
  EXPECT_EQ(times_planned(), 1);
  stop();
  start();
  response.Clear();
  ASSERT_TRUE(create(request, response).ok());
  EXPECT_EQ(response.group().group_id(), "try-g1");
  v1::ListJobsRequest list;
  list.set_page_size(100);
  list.set_group("groups/try-g1");
  v1::ListJobsResponse jobs;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), list, &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 40);
  EXPECT_EQ(jobs.jobs(0).folder(), folder_ + "/data/jobs/try-39-40");
  v1::ListGroupsResponse groups;
  ASSERT_TRUE(v1::GroupService::NewStub(channel_)->ListGroups(context().get(), {}, &groups).ok());
  ASSERT_EQ(groups.groups_size(), 1);
  EXPECT_EQ(groups.groups(0).states(0).jobs(), 40U);
}

TEST_F(GroupCalls, APageEndsWhereItsJobsBecomeMany) {
  start();
  for (int i = 0; i < 5; ++i) {
    v1::CreateGroupRequest request = request_of(256);
    request.set_request_id(absl::StrCat("once-", i));
    v1::CreateGroupResponse response;
    ASSERT_TRUE(create(request, response).ok());
  }
  std::vector<std::string> all;
  v1::ListGroupsRequest page;
  int pages = 0;
  do {
    v1::ListGroupsResponse groups;
    ASSERT_TRUE(v1::GroupService::NewStub(channel_)->ListGroups(context().get(), page, &groups).ok());
    for (const v1::Group& group : groups.groups()) all.push_back(group.group_id());
    page.set_page_token(groups.next_page_token());
    ++pages;
  } while (!page.page_token().empty());
  EXPECT_EQ(all, (std::vector<std::string>{"try-g1025", "try-g769", "try-g513", "try-g257", "try-g1"}));
  EXPECT_EQ(pages, 2);
}

TEST_F(GroupCalls, WhatCannotBeHonouredIsRefusedByName) {
  start();
  EXPECT_EQ(refused({}), "members: a group has one job at least");
  EXPECT_EQ(refused(request_of(257)), "members: 257 jobs, at most 256 make a group");
  v1::CreateGroupRequest request = request_of(2);
  request.set_group_name("Try");
  EXPECT_TRUE(absl::StrContains(refused(request), "group_name: \"Try\" is not a name"));
  request = request_of(2);
  request.mutable_members(1)->mutable_settings(0)->set_value("0.01");
  EXPECT_TRUE(absl::StrContains(refused(request), "another member has the same"));
  request = request_of(2);
  for (auto& member : *request.mutable_members()) member.mutable_job()->mutable_checkpoint()->set_copy_to("s3://b/p");
  EXPECT_TRUE(
      absl::StrContains(refused(request), "members[1].job.checkpoint.copy_to: s3://b/p is that of members[0] too"));
  request = request_of(2);
  for (auto& member : *request.mutable_members()) member.mutable_job()->mutable_checkpoint()->set_directory("../all");
  EXPECT_TRUE(absl::StrContains(refused(request), "members[1].job.checkpoint.directory: ../all"));
  request = request_of(2);
  request.add_stop_worst_after(15);
  EXPECT_TRUE(
      absl::StrContains(refused(request), "members[0].job.training.log_every: 10 leaves no training loss at step 15"));
  request.set_stop_worst_after(0, 100);
  EXPECT_TRUE(absl::StrContains(refused(request), "job.training.steps: 100 are over at step 100"));
  request.set_stop_worst_after(0, 50);
  request.add_stop_worst_after(50);
  EXPECT_TRUE(absl::StrContains(refused(request), "each later than the one before"));
  request = request_of(2);
  request.add_stop_worst_after(50);
  request.mutable_members(1)->mutable_job()->mutable_data()->add_validation("x");
  request.mutable_members(1)->mutable_job()->mutable_training()->set_evaluate_every(50);
  EXPECT_TRUE(absl::StrContains(refused(request), "some members are evaluated and others are not"));
  request = request_of(2);
  request.mutable_members(1)->mutable_job()->mutable_sweep()->set_by_validation(true);
  EXPECT_TRUE(absl::StrContains(refused(request), "job.sweep: is filled in by the scheduler"));
  v1::Job own = job_named("x");
  own.mutable_sweep()->add_rungs(5);
  v1::JobRecord record;
  EXPECT_TRUE(absl::StrContains(ServerTest::create(own, record).error_message(), "job.sweep"));
  v1::GetGroupRequest none;
  none.set_name("groups/none-g7");
  v1::Group group;
  const grpc::Status missing = v1::GroupService::NewStub(channel_)->GetGroup(context().get(), none, &group);
  EXPECT_EQ(missing.error_code(), grpc::NOT_FOUND);
  EXPECT_EQ(missing.error_message(), "there is no group groups/none-g7");
  v1::ListJobsRequest list;
  list.set_group("none-g7");
  v1::ListJobsResponse jobs;
  EXPECT_EQ(jobs_->ListJobs(context().get(), list, &jobs).error_code(), grpc::NOT_FOUND);
  jobs.Clear();
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 0);
}

TEST_F(GroupCalls, OneMemberThatCannotBePlannedRefusesAll) {
  set_planner("grep -q other \"$3\" && { echo 'data.train: no' >&2; exit 2; }; cat " + folder_ + "/plan.0");
  start();
  v1::CreateGroupRequest request = request_of(3);
  request.mutable_members(1)->mutable_job()->mutable_data()->add_train("other");
  EXPECT_EQ(refused(request), "members[1]: data.train: no");
  v1::ListJobsResponse jobs;
  ASSERT_TRUE(jobs_->ListJobs(context().get(), {}, &jobs).ok());
  EXPECT_EQ(jobs.jobs_size(), 0);
}

TEST_F(GroupCalls, ALossAtARungReachesTheGroup) {
  start();
  v1::CreateGroupRequest request = request_of(2);
  request.add_stop_worst_after(50);
  v1::CreateGroupResponse made;
  ASSERT_TRUE(create(request, made).ok());
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a, 2).ok());
  train(a, 50);
  ASSERT_TRUE(eventually([&] {
    (void)sync(a);
    return a.last.assignments_size() == 2;
  }));
  train(a, 50);
  EXPECT_EQ(get("try-0-1").job().sweep().rungs(0), 50U);
  for (v1::RankReport& report : a.held) {
    v1::RungLoss& loss = *report.add_rungs();
    loss.set_rung(50);
    loss.set_step(50);
    loss.set_loss(report.id().job_id() == "try-0-1" ? 2 : 1);
  }
  ASSERT_TRUE(sync(a).ok());
  ASSERT_TRUE(reaches("try-0-1", v1::JobRecord::CANCELLING));
  for (v1::RankReport& report : a.held) {
    if (report.id().job_id() != "try-0-1") continue;
    report.set_phase(v1::RankReport::EXITED);
    report.mutable_finished()->set_outcome(v1::Finished::STOPPED);
  }
  ASSERT_TRUE(sync(a).ok());
  ASSERT_TRUE(reaches("try-0-1", v1::JobRecord::CANCELLED));
  EXPECT_EQ(get("try-0-1").stopped_at_rung(), 50U);
  EXPECT_EQ(get("try-1-2").state(), v1::JobRecord::RUNNING);
}

}  // namespace
}  // namespace galleon::server
