// What projects may have: refused by name beyond it, and nothing taken away below.
#include "server/core/quota.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "server/core/refusal.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

constexpr uint64_t kMiB = 1 << 20;

struct Quota : World {
  static SchedulerOptions lab(const QuotaLimits& all, const QuotaLimits& each_user = {}) {
    SchedulerOptions options;
    options.queues = {{"default", 1, 0, 0, "lab"}, {"other", 1, 0, 0, "arts"}};
    options.projects = {{"lab", all, each_user}};
    options.lease_ms = 24LL * 3'600'000;  // workers are silent here while time passes
    return options;
  }
  using World::World;
  absl::StatusOr<std::string> submit_as(const std::string& user, const std::string& queue = "default") {
    v1::Job job = job_named("job");
    job.mutable_scheduling()->set_queue(queue);
    absl::StatusOr<std::string> id =
        scheduler->submit(now, {job, plan_of(1, 1 << 20), "", "/jobs", scheduler->next_number(), user});
    tick();
    return id;
  }
  absl::Status publish_of(const std::string& job_id, uint64_t step, uint64_t folder_bytes) {
    v1::PublishCheckpointRequest request;
    request.mutable_id()->set_job_id(job_id);
    request.mutable_id()->set_attempt(record(job_id).attempts());
    request.mutable_id()->set_epoch(record(job_id).attempt().epoch());
    request.set_step(step);
    request.set_folder("/jobs/" + job_id + "/checkpoints/step");
    request.set_worker_id("a");
    request.set_folder_bytes(folder_bytes);
    const absl::Status status = scheduler->publish_checkpoint(now, request);
    tick();
    return status;
  }
};

TEST(Quota, AGroupCountsInAllItsQueuesTogether) {
  SchedulerOptions options = Quota::lab({.queued = 3});
  options.queues.push_back({"night", 1, 0, 0, "lab"});
  Quota w(options);
  Scheduler::GroupSubmission group;
  group.name = "try";
  group.owner = "ann";
  for (const char* queue : {"default", "default", "night", "night"}) {
    Scheduler::Submission& member = group.members.emplace_back();
    member.job = job_named("try");
    member.job.mutable_scheduling()->set_queue(queue);
    member.plan = plan_of(1, 1 << 20);
    member.jobs_folder = "/jobs";
    member.owner = "ann";
    member.number = w.scheduler->next_number() + group.members.size() - 1;
  }
  const absl::Status refused = w.scheduler->submit_group(w.now, group).status();
  ASSERT_TRUE(quota_details(refused).has_value()) << refused;
  EXPECT_EQ(quota_details(refused)->subject, "project:lab");
  EXPECT_TRUE(absl::StrContains(refused.message(), "with these it would have 4")) << refused;
  group.members.pop_back();
  EXPECT_TRUE(w.scheduler->submit_group(w.now, group).ok());
}

TEST(Quota, JobsThatWaitAreCountedByProjectAndByUser) {
  Quota w(Quota::lab({.queued = 3}, {.queued = 2}));
  EXPECT_TRUE(w.submit_as("ann").ok());
  EXPECT_TRUE(w.submit_as("ann").ok());
  const absl::Status own = w.submit_as("ann").status();
  EXPECT_EQ(own.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(quota_details(own)->subject, "project:lab/user:ann");
  EXPECT_TRUE(w.submit_as("bob").ok());
  const absl::Status all = w.submit_as("eve").status();
  EXPECT_EQ(quota_details(all)->subject, "project:lab");
  EXPECT_EQ(quota_details(all)->used, 3U);
  EXPECT_EQ(quota_details(all)->limit, 3U);
  EXPECT_TRUE(absl::StartsWith(all.message(), "project lab has 3 jobs waiting and may have 3; wait until")) << all;
  const absl::StatusOr<std::string> elsewhere = w.submit_as("ann", "other");
  ASSERT_TRUE(elsewhere.ok());
  v1::ReprioritizeJobRequest move;
  move.set_name(*elsewhere);
  move.set_queue("default");
  EXPECT_EQ(reason_of(w.scheduler->reprioritize(w.now, move)), v1::ErrorInfo::QUOTA_EXCEEDED);
}

TEST(Quota, ASmallerQuotaTakesNothingAwayAndALargerOneLetsGoOn) {
  Quota w(Quota::lab({.queued = 3}));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(w.submit_as("ann").ok());
  w.scheduler->reconfigure(w.now, w.options.queues, {{"lab", {.queued = 1}, {}}});
  w.tick();
  EXPECT_EQ(w.scheduler->state().queue().size(), 3U);
  EXPECT_FALSE(w.submit_as("ann").ok());
  w.scheduler->reconfigure(w.now, w.options.queues, {{"lab", {.queued = 4}, {}}});
  EXPECT_TRUE(w.submit_as("ann").ok());
}

TEST(Quota, AStarHoldsForProjectsThatAreNotNamed) {
  const std::vector<ProjectQuota> projects = {{"*", {.queued = 1}, {}}, {"lab", {.queued = 2}, {}}};
  EXPECT_EQ(quota_of(projects, "lab").all.queued, 2U);
  EXPECT_EQ(quota_of(projects, "arts").all.queued, 1U);
  EXPECT_EQ(quota_of(projects, "arts").project, "arts");
  EXPECT_EQ(quota_of({}, "arts").all.queued, 0U);
}

TEST(Quota, AJobWhoseProjectKeepsTooMuchHandsItsSlotsBackAndGoesOnOnceThereIsRoom) {
  Quota w(Quota::lab({.folder_bytes = 100 * kMiB}));
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string old = *w.submit_as("bob");
  w.take_up("a");
  w.train("a", old, 0, 1);
  ASSERT_TRUE(w.publish_of(old, 1, 60 * kMiB).ok());
  EXPECT_EQ(w.state(old), v1::JobRecord::RUNNING);
  w.finish("a", old, 0, v1::Finished::SUCCEEDED);
  w.forget_unlisted("a");
  ASSERT_TRUE(w.sync("a").ok());
  const std::string job = *w.submit_as("ann");
  w.take_up("a");
  w.train("a", job, 0, 1);
  ASSERT_TRUE(w.publish_of(job, 5, 50 * kMiB).ok());
  EXPECT_EQ(w.record(job).checkpoint().step(), 5U) << "what is there is recorded";
  EXPECT_EQ(w.state(job), v1::JobRecord::PREEMPTING);
  w.finish("a", job, 0, v1::Finished::STOPPED);
  w.forget_unlisted("a");
  ASSERT_TRUE(w.sync("a").ok());
  const std::string reason =
      "project lab keeps 110 MiB in jobs' folders and may keep 100 MiB; galleon delete of jobs that have ended frees "
      "what they keep";
  EXPECT_EQ(w.state(job), v1::JobRecord::QUEUED);
  EXPECT_TRUE(absl::StrContains(w.record(job).message(), reason)) << w.record(job).message();
  EXPECT_EQ(w.submit_as("ann").status().message(), reason);
  w.restart();
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.state(job), v1::JobRecord::QUEUED);
  v1::DeleteJobRequest request;
  request.set_name(old);
  ASSERT_TRUE(w.scheduler->remove(w.now, request, "/jobs").ok());
  w.collect();
  ASSERT_TRUE(w.sync("a").ok());
  EXPECT_NE(w.state(job), v1::JobRecord::QUEUED);
  EXPECT_EQ(w.record(job).attempts(), 2U);
}

TEST(Quota, ProjectsAreShownWithWhatTheyHaveAndMay) {
  Quota w(Quota::lab({.queued = 5, .log_bytes = 9}, {.folder_bytes = 7}));
  ASSERT_TRUE(w.submit_as("ann").ok());
  const std::vector<v1::Project> projects = w.scheduler->describe_projects();
  ASSERT_EQ(projects.size(), 2U);
  EXPECT_EQ(projects[0].project_id(), "arts");
  EXPECT_EQ(projects[1].project_id(), "lab");
  EXPECT_EQ(projects[1].use().queued(), 1U);
  EXPECT_EQ(projects[1].limits().queued(), 5U);
  EXPECT_EQ(projects[1].user_limits().folder_bytes(), 7U);
  ASSERT_EQ(projects[1].users_size(), 1);
  EXPECT_EQ(projects[1].users(0).user(), "ann");
}

}  // namespace
}  // namespace galleon::server
