// Users who share a queue: whose turn it is, and what each may hold.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "server/core/refusal.h"
#include "tests/server/core/scene.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using Ids = std::vector<std::string>;

QueueConfig shared(int64_t half_life_ms = 3'600'000) {
  QueueConfig queue;
  queue.half_life_ms = half_life_ms;
  return queue;
}

// Users of one queue, in a scene.
struct Shared : Scene {
  explicit Shared(QueueConfig queue = shared()) : Scene({std::move(queue)}) {}
  Shared& user(const std::string& name, double recent = 0, double weight = 1, uint32_t limit = 0) {
    names.push_back(name);
    UserShare& share = input.users.emplace_back();
    share.name = &names.back();
    share.recent = recent;
    share.weight = weight;
    share.limit = limit;
    return *this;
  }
  Shared& job(const std::string& id, int64_t of, const SceneJob& what = {}) {
    queued(id, what);
    input.queued.back().user = of;
    return *this;
  }
  Shared& runs(const std::string& id, int64_t of, int slots) {
    running(id, "w", slots);
    input.running.back().user = of;
    return *this;
  }
  std::deque<std::string> names;
};

TEST(FairShare, UsersTakeTurnsHoweverManyJobsOneHasSubmittedBefore) {
  Shared s;
  s.worker("w", 4);
  s.user("ann").user("bob");
  for (int i = 0; i < 10; ++i) s.job("ann", 0);
  for (int i = 0; i < 2; ++i) s.job("bob", 1);
  s.decide();
  EXPECT_EQ(s.started, (Ids{"ann", "bob", "ann", "bob"}));
}

TEST(FairShare, WithoutTurnsTheOlderGoFirst) {
  Shared s{QueueConfig()};
  s.worker("w", 3);
  s.user("ann").user("bob");
  for (int i = 0; i < 3; ++i) s.job("ann", 0);
  s.job("bob", 1).decide();
  EXPECT_EQ(s.started, (Ids{"ann", "ann", "ann"}));
}

TEST(FairShare, WhatIsUsedNowAndWasLatelyCountsByWeight) {
  Shared s;
  s.worker("w", 5);
  s.user("now").user("lately", 0.5).user("heavy", 0, 4).runs("r", 0, 1).runs("r", 2, 2);
  for (int64_t user = 0; user < 3; ++user) s.job(s.names[static_cast<size_t>(user)], user).job("x", user);
  s.decide();
  // Loads 1, 0.5 and 2/4; the older among equals.
  EXPECT_EQ(s.started, (Ids{"lately", "heavy"}));
}

TEST(FairShare, PriorityComesFirstAndWhoWaitsAtTheHeadForLongComesBeforeTurns) {
  Shared s;
  s.worker("w", 3);
  s.user("ann", 5).user("bob");
  s.job("urgent", 0, {.priority = 1}).job("long", 0).job("bob", 1);
  s.input.queued[1].overdue = true;
  s.decide();
  EXPECT_EQ(s.started, (Ids{"urgent", "long", "bob"}));
}

TEST(FairShare, ThoseThatWaitAreToldWhoseTurnItIsAndTheirPlaceInTheLine) {
  Shared s;
  s.worker("w", 2);
  s.user("ann", 1.75).user("bob", 0.25).runs("r", 0, 2);
  s.job("ann", 0).job("ann", 0).job("bob", 1).decide();
  EXPECT_EQ(s.result.turns, (std::vector<uint32_t>{2, 3, 1}));
  Wait wait = s.result.waits[0];
  wait.position = s.result.turns[0];
  wait.queued = 3;
  EXPECT_TRUE(absl::EndsWith(wait_message(*s.input.queued[0].demand, wait, 0),
                             "; it is the turn of bob: bob uses 0 slots now and used 0.2 lately, ann uses 2 slots now "
                             "and used 1.8 lately"))
      << wait_message(*s.input.queued[0].demand, wait, 0);
}

TEST(FairShare, InALineWhereNothingStartsUsersAlternateToo) {
  Shared s;
  s.worker("w", 1);
  s.user("ann").user("bob").runs("r", 0, 1);
  for (int i = 0; i < 3; ++i) s.job("ann", 0);
  for (int i = 0; i < 3; ++i) s.job("bob", 1);
  s.decide();
  EXPECT_EQ(s.result.turns, (std::vector<uint32_t>{2, 4, 6, 1, 3, 5}));
}

TEST(FairShare, WhoHoldsAllThatAUserMayKeepsNothingFromOthers) {
  for (const bool turns : {false, true}) {
    Shared s(turns ? shared() : QueueConfig());
    s.worker("w", 4);
    s.user("ann", 0, 1, 2).user("bob", 0, 1, 2).runs("r", 0, 1);
    s.job("ann two", 0, {.ranks = 2}).job("ann", 0).job("bob", 1).job("bob", 1).job("bob", 1).decide();
    // What comes behind a job that waits for its user's own slots would only take those.
    EXPECT_EQ(s.started, (Ids{"bob", "bob"}));
    EXPECT_EQ(s.why(0), Wait::Kind::kUserLimit);
    EXPECT_EQ(s.why(1), Wait::Kind::kUserLimit);
    EXPECT_EQ(s.why(4), Wait::Kind::kUserLimit);
    EXPECT_TRUE(absl::StrContains(wait_message(*s.input.queued[4].demand, s.result.waits[4], 0),
                                  "but bob uses 2 of the 2 slots that a user may in queue default"));
  }
}

SchedulerOptions with(QueueConfig queue) {
  SchedulerOptions options;
  options.queues = {std::move(queue)};
  options.lease_ms = 24LL * 3'600'000;  // workers are silent here while time passes
  return options;
}

struct Users : World {
  using World::World;
  absl::StatusOr<std::string> submit_as(const std::string& user, const std::string& name = "job") {
    absl::StatusOr<std::string> id =
        scheduler->submit(now, {job_named(name), plan_of(1, 1 << 20), "", "/jobs", scheduler->next_number(), user});
    tick();
    return id;
  }
};

TEST(FairShare, ARestartRemembersWhatWasUsedAndQueuesShowIt) {
  Users w(with(shared()));
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string first = *w.submit_as("ann");
  w.take_up("a");
  w.tick(3'600'000 - 1'000);
  w.finish("a", first, 0, v1::Finished::SUCCEEDED);
  w.restart();
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  w.forget_unlisted("a");
  const v1::Queue queue = w.scheduler->describe_queues(w.now)[0];
  ASSERT_EQ(queue.users_size(), 1);
  EXPECT_EQ(queue.users(0).user(), "ann");
  EXPECT_NEAR(queue.users(0).recent_slots(), 0.5, 0.01);
  EXPECT_EQ(queue.half_life_seconds(), 3'600U);
}

TEST(FairShare, AUserWithAsManyWaitingAsItMayIsRefusedAndOthersAreNot) {
  QueueConfig queue;
  queue.user_limit_queued = 2;
  Users w(with(queue));
  ASSERT_TRUE(w.submit_as("ann").ok());
  ASSERT_TRUE(w.submit_as("ann").ok());
  const absl::Status status = w.submit_as("ann").status();
  EXPECT_EQ(reason_of(status), v1::ErrorInfo::QUOTA_EXCEEDED);
  EXPECT_EQ(status.message(),
            "user ann in queue default has 2 jobs waiting and may have 2; wait until some have started, or galleon "
            "cancel --queue default --state queued");
  EXPECT_EQ(quota_details(status)->subject, "queue:default/user:ann");
  EXPECT_TRUE(w.submit_as("bob").ok());
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  w.tick();
  EXPECT_TRUE(w.submit_as("ann").ok());
}

TEST(FairShare, AGangLargerThanAUserMayHoldIsRefused) {
  QueueConfig queue;
  queue.user_limit_slots = 2;
  Users w(with(queue));
  const absl::Status status =
      w.scheduler->submit(w.now, {job_named("gang", 3), plan_of(3, 1), "", "/jobs", w.scheduler->next_number(), "ann"})
          .status();
  EXPECT_EQ(reason_of(status), v1::ErrorInfo::NEVER_FITS);
  EXPECT_TRUE(absl::StrContains(status.message(), "each user of queue default may use 2 at most")) << status;
}

}  // namespace
}  // namespace galleon::server
