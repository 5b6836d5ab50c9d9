// Jobs that are submitted together: all or none, so many at a time, and the worse half of them that ends.
#include <cmath>

#include "absl/strings/match.h"
#include "server/core/refusal.h"
#include "tests/server/core/scene.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

class Groups : public testing::Test {
 protected:
  Scheduler::GroupSubmission group_of(int jobs, uint32_t max_running = 0, std::vector<uint64_t> rungs = {}) {
    Scheduler::GroupSubmission group;
    group.name = "try";
    group.request_id = "once";
    group.max_running = max_running;
    group.rungs = std::move(rungs);
    for (int i = 0; i < jobs; ++i) {
      Scheduler::Submission& member = group.members.emplace_back();
      member.job = job_named("try");
      member.job.mutable_model()->set_seed(static_cast<uint64_t>(i));
      for (const uint64_t rung : group.rungs) member.job.mutable_sweep()->add_rungs(rung);
      member.plan = plan_of(1, 1 << 20);
      member.jobs_folder = "/jobs";
      v1::SweepSetting& setting = member.settings.emplace_back();
      setting.set_key("model.seed");
      setting.set_value(absl::StrCat(i));
    }
    return group;
  }
  absl::StatusOr<std::string> submit(Scheduler::GroupSubmission group) {
    uint64_t number = world_.scheduler->next_number();
    for (Scheduler::Submission& member : group.members) member.number = number++;
    absl::StatusOr<std::string> id = world_.scheduler->submit_group(world_.now, group);
    world_.tick();
    return id;
  }
  // A worker with a slot for each, all of which train.
  void run(int slots) {
    ASSERT_TRUE(world_.join(worker_named("w", static_cast<uint32_t>(slots))).ok());
    go_on();
  }
  void go_on() {
    world_.forget_unlisted("w");
    world_.take_up("w");
    std::vector<std::string> ids;
    for (const v1::RankReport& report : world_.held["w"]) {
      if (report.phase() == v1::RankReport::LAUNCHING) ids.push_back(report.id().job_id());
    }
    for (const std::string& id : ids) world_.train("w", id, 0, 1);
  }
  void reach(const std::string& id, uint64_t rung, double loss) {
    v1::RungLoss& reached = *world_.find("w", id, 0)->add_rungs();
    reached.set_rung(rung);
    reached.set_step(rung);
    reached.set_loss(loss);
    ASSERT_TRUE(world_.sync("w").ok());
  }
  // Ends as it was told to, and the slot is free.
  void stop(const std::string& id) {
    world_.finish("w", id, 0, v1::Finished::STOPPED);
    world_.forget_unlisted("w");
    ASSERT_TRUE(world_.sync("w").ok());
  }
  v1::Group group(const std::string& id) {
    return world_.scheduler->describe(*world_.scheduler->state().group(id), [](const v1::JobRecord&) { return true; });
  }

  World world_;
};

TEST_F(Groups, AreMadeOnceHoweverOftenTheyAreAskedFor) {
  ASSERT_EQ(*submit(group_of(3)), "try-g1");
  EXPECT_EQ(world_.scheduler->state().jobs().size(), 3U);
  ASSERT_EQ(*submit(group_of(3)), "try-g1");
  world_.restart();
  ASSERT_EQ(*submit(group_of(3)), "try-g1");
  EXPECT_EQ(world_.scheduler->state().jobs().size(), 3U);
  EXPECT_EQ(world_.record("try-2").group(), "try-g1");
  EXPECT_EQ(world_.record("try-2").settings(0).value(), "1");
  EXPECT_EQ(reason_of(submit(group_of(2)).status()), v1::ErrorInfo::REQUEST_ID_REUSED);
  EXPECT_EQ(reason_of(submit(group_of(3, 1)).status()), v1::ErrorInfo::REQUEST_ID_REUSED);
  Scheduler::GroupSubmission other = group_of(3);
  other.members[1].job.set_note("another");
  EXPECT_EQ(reason_of(submit(other).status()), v1::ErrorInfo::REQUEST_ID_REUSED);
  EXPECT_EQ(reason_of(world_.scheduler->find_request(job_named("x"), "once").status()),
            v1::ErrorInfo::REQUEST_ID_REUSED);
}

TEST_F(Groups, AreMadeWholeOrNotAtAll) {
  Scheduler::GroupSubmission bad = group_of(3);
  bad.members[2].job.mutable_scheduling()->set_queue("none");
  const absl::Status refused = submit(bad).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_EQ(refused.message(),
            "members[2].job.scheduling.queue: there is no queue \"none\"; there is \"default\" (the job with "
            "model.seed=2)");
  ASSERT_TRUE(world_.join(worker_named("w", 1)).ok());
  bad = group_of(3);
  bad.members[1].plan = plan_of(1, uint64_t{1} << 40);
  const absl::Status large = submit(bad).status();
  EXPECT_EQ(reason_of(large), v1::ErrorInfo::NEVER_FITS);
  EXPECT_TRUE(absl::StrContains(large.message(), "members[1]: needs 1 slot of 1024 GiB")) << large;
  EXPECT_TRUE(world_.scheduler->state().jobs().empty());
  EXPECT_TRUE(world_.scheduler->state().groups().empty());
}

TEST_F(Groups, HaveOneProject) {
  World world([] {
    SchedulerOptions options;
    options.queues = {{"default", 1, 0, 0, "a"}, {"other", 1, 0, 0, "b"}};
    return options;
  }());
  Scheduler::GroupSubmission group = group_of(2);
  group.members[1].job.mutable_scheduling()->set_queue("other");
  EXPECT_TRUE(absl::StrContains(world.scheduler->check_group(group).message(), "a group has one project"));
}

TEST_F(Groups, RunSoManyAtATimeAndSayWhy) {
  ASSERT_TRUE(submit(group_of(4, 2)).ok());
  const std::string after = world_.submit(job_named("after"));
  run(4);
  EXPECT_EQ(world_.state("try-1"), J::RUNNING);
  EXPECT_EQ(world_.state("try-2"), J::RUNNING);
  EXPECT_EQ(world_.state("try-3"), J::QUEUED);
  EXPECT_TRUE(absl::StrContains(world_.record("try-3").message(),
                                "2 of the 2 jobs of groups/try-g1 that may run at a time do (max_running)"))
      << world_.record("try-3").message();
  // Nobody waits behind them.
  EXPECT_EQ(world_.state(after), J::RUNNING);
  world_.restart();
  ASSERT_TRUE(world_.sync("w").ok());
  EXPECT_EQ(world_.state("try-3"), J::QUEUED);
  world_.finish("w", "try-1", 0, v1::Finished::SUCCEEDED);
  go_on();
  EXPECT_EQ(world_.state("try-3"), J::RUNNING);
  EXPECT_EQ(world_.state("try-4"), J::QUEUED);
}

TEST_F(Groups, AreThereAsLongAsOneOfTheirJobs) {
  ASSERT_TRUE(submit(group_of(2)).ok());
  for (const std::string id : {"try-1", "try-2"}) {
    ASSERT_TRUE(world_.scheduler->cancel(world_.now, id, "", "").ok());
    EXPECT_NE(world_.scheduler->state().group("try-g1"), nullptr);
    v1::DeleteJobRequest request;
    request.set_name(id);
    ASSERT_TRUE(world_.scheduler->remove(world_.now, request, "/jobs").ok());
  }
  EXPECT_EQ(world_.scheduler->state().group("try-g1"), nullptr);
  EXPECT_TRUE(world_.scheduler->state().members("try-g1").empty());
  ASSERT_EQ(*submit(group_of(2)), "try-g3");
}

TEST_F(Groups, TheWorseHalfEndsWhenAllHaveReachedTheStep) {
  ASSERT_TRUE(submit(group_of(4, 0, {10})).ok());
  run(4);
  reach("try-1", 10, 3.0);
  reach("try-2", 10, 2.0);
  reach("try-3", 10, std::nan(""));
  EXPECT_EQ(group("try-g1").message(), "3 of 4 have reached step 10, where the worse half ends");
  EXPECT_EQ(world_.state("try-3"), J::RUNNING);
  world_.restart();
  ASSERT_TRUE(world_.sync("w").ok());
  reach("try-4", 10, 2.0);
  const v1::GroupRung rung = group("try-g1").rungs(0);
  EXPECT_TRUE(rung.decided());
  EXPECT_EQ(rung.kept(), 2U);
  // Of equals the earlier one is better.
  EXPECT_EQ(std::vector<std::string>(rung.ranking().begin(), rung.ranking().end()),
            (std::vector<std::string>{"try-2", "try-4", "try-1", "try-3"}));
  EXPECT_EQ(world_.state("try-2"), J::RUNNING);
  EXPECT_EQ(world_.state("try-4"), J::RUNNING);
  EXPECT_EQ(world_.state("try-1"), J::CANCELLING);
  int stopping = 0;
  const v1::SyncWorkerResponse listed = world_.assignments("w");
  for (const v1::Assignment& assignment : listed.assignments())
    stopping += assignment.stop() && assignment.stop_grace_milliseconds() > 0;
  EXPECT_EQ(stopping, 2);
  stop("try-1");
  stop("try-3");
  EXPECT_EQ(world_.state("try-1"), J::CANCELLED);
  EXPECT_EQ(world_.record("try-1").stopped_at_rung(), 10U);
  EXPECT_EQ(world_.record("try-1").message(),
            "ends with the worse half of groups/try-g1: is 3 of 4 at step 10, loss 3");
  EXPECT_EQ(group("try-g1").stopped(), 2U);
  world_.restart();
  EXPECT_EQ(group("try-g1").rungs(0).ranking_size(), 4);
}

TEST_F(Groups, OneThatFailedIsWorstAndHoldsUpNobody) {
  ASSERT_TRUE(submit(group_of(3, 0, {10, 20})).ok());
  run(3);
  reach("try-1", 10, 9.0);
  reach("try-2", 10, 1.0);
  world_.finish("w", "try-3", 0, v1::Finished::FAILED, "bad", true);
  const v1::GroupRung first = group("try-g1").rungs(0);
  EXPECT_EQ(first.kept(), 2U);
  EXPECT_EQ(first.ranking(2), "try-3");
  EXPECT_EQ(world_.state("try-3"), J::FAILED);
  EXPECT_EQ(world_.record("try-3").stopped_at_rung(), 0U);
  EXPECT_EQ(world_.state("try-1"), J::RUNNING);
  // Who is out takes no part in the next.
  reach("try-1", 20, 8.0);
  reach("try-2", 20, 8.5);
  EXPECT_EQ(group("try-g1").rungs(1).ranking(0), "try-1");
  EXPECT_EQ(group("try-g1").rungs(1).ranking_size(), 2);
  EXPECT_EQ(world_.state("try-2"), J::CANCELLING);
}

TEST_F(Groups, WhoHasReachedTheStepLetsThoseThatWaitReachIt) {
  ASSERT_TRUE(submit(group_of(4, 2, {10})).ok());
  run(4);
  reach("try-1", 10, 1.0);
  EXPECT_EQ(world_.state("try-1"), J::PREEMPTING);
  stop("try-1");
  go_on();
  EXPECT_EQ(world_.state("try-3"), J::RUNNING);
  EXPECT_EQ(world_.state("try-1"), J::QUEUED);
  EXPECT_TRUE(absl::StrContains(world_.record("try-1").message(), "has reached step 10"))
      << world_.record("try-1").message();
  reach("try-2", 10, 2.0);
  stop("try-2");
  go_on();
  EXPECT_EQ(world_.state("try-4"), J::RUNNING);
  reach("try-3", 10, 3.0);
  // Nobody waits for its slot any more.
  EXPECT_EQ(world_.state("try-3"), J::RUNNING);
  reach("try-4", 10, 0.5);
  EXPECT_TRUE(group("try-g1").rungs(0).decided());
  // One that waits ends at once.
  EXPECT_EQ(world_.state("try-2"), J::CANCELLED);
  EXPECT_EQ(world_.state("try-3"), J::CANCELLING);
  stop("try-3");
  go_on();
  EXPECT_EQ(world_.state("try-1"), J::RUNNING);
  EXPECT_EQ(world_.state("try-4"), J::RUNNING);
}

TEST_F(Groups, WhoHasReachedTheStepMakesRoomInWhatItsUserMayHold) {
  QueueConfig queue = world_.options.queues[0];
  queue.user_limit_slots = 2;
  world_.scheduler->reconfigure(world_.now, {queue});
  ASSERT_TRUE(submit(group_of(3, 0, {10})).ok());
  run(4);
  EXPECT_EQ(world_.state("try-3"), J::QUEUED);
  reach("try-1", 10, 1.0);
  EXPECT_EQ(world_.state("try-1"), J::PREEMPTING);
  stop("try-1");
  go_on();
  EXPECT_EQ(world_.state("try-3"), J::RUNNING);
}

TEST_F(Groups, WhoIsHeldKeepsNobodyFromItsSlots) {
  ASSERT_TRUE(submit(group_of(3, 1, {10})).ok());
  for (const std::string id : {"try-2", "try-3"}) {
    v1::HoldJobRequest hold;
    hold.set_name(id);
    ASSERT_TRUE(world_.scheduler->hold(world_.now, hold).ok());
  }
  run(2);
  reach("try-1", 10, 1.0);
  EXPECT_EQ(world_.state("try-1"), J::RUNNING);
  EXPECT_FALSE(group("try-g1").rungs(0).decided());
}

TEST_F(Groups, OneThatGoesOnAfterItEndedTakesNoPart) {
  ASSERT_TRUE(submit(group_of(2, 0, {10, 20})).ok());
  run(2);
  reach("try-1", 10, 1.0);
  reach("try-2", 10, 2.0);
  stop("try-2");
  v1::ResumeJobRequest request;
  request.set_name("try-2");
  ASSERT_TRUE(world_.scheduler->resume(world_.now, request).ok());
  world_.tick();
  EXPECT_EQ(world_.record("try-2").stopped_at_rung(), 0U);
  reach("try-1", 20, 1.0);
  EXPECT_EQ(group("try-g1").rungs(1).ranking_size(), 1);
  EXPECT_EQ(world_.state("try-1"), J::RUNNING);
}

}  // namespace
}  // namespace galleon::server
