// The policy as a whole: whose turn it is, who keeps what, who makes room.
#include "server/core/pass.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/server/core/scene.h"

namespace galleon::server {
namespace {

using Job = SceneJob;
using Ids = std::vector<std::string>;
using Set = std::set<std::string>;

TEST(Pass, QueuesTakeTurnsByWeight) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 2, 0, 0, ""}});
  s.worker("w", 6);
  for (int i = 0; i < 6; ++i) s.queued("a", {}).queued("b", {.queue = 1});
  s.decide();
  EXPECT_EQ(std::count(s.started.begin(), s.started.end(), "a"), 2);
  EXPECT_EQ(std::count(s.started.begin(), s.started.end(), "b"), 4);
}

TEST(Pass, AQueueBelowItsGuaranteeGoesFirstWhateverTheWeights) {
  Scene s({{"a", 100, 0, 0, ""}, {"b", 1, 2, 0, ""}});
  s.worker("w", 2).queued("a", {}).queued("b", {.queue = 1}).queued("b", {.queue = 1}).decide();
  EXPECT_EQ(s.started, (Ids{"b", "b"}));
}

TEST(Pass, WhatAQueueDoesNotUseOthersBorrow) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 4, 0, ""}});
  s.worker("w", 4).queued("x", {.ranks = 4}).decide();
  EXPECT_EQ(s.started, Ids{"x"});
}

TEST(Pass, AJobThatCannotBePreemptedDoesNotBorrowButThoseBehindItMay) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 4, 0, ""}});
  s.worker("w", 4).queued("fixed", {.preemptible = false}).queued("loan", {}).decide();
  EXPECT_EQ(s.started, Ids{"loan"});
  EXPECT_EQ(s.why(0), Wait::Kind::kGuaranteed);
}

TEST(Pass, AQueueAtItsLimitWaitsAndNothingInItPassesTheHead) {
  Scene s({{"a", 1, 0, 3, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 6).running("r", "w", 2).queued("two", {.ranks = 2}).queued("one", {}).queued("other", {.queue = 1});
  s.decide();
  EXPECT_EQ(s.started, Ids{"other"});
  EXPECT_EQ(s.why(0), Wait::Kind::kLimit);
  EXPECT_EQ(s.why(1), Wait::Kind::kLimit);
  EXPECT_EQ(s.result.waits[0].used, 2U);
}

TEST(Pass, AHeadKeepsTheSlotsThatItCouldUseFromThoseBehindIt) {
  Scene s;
  s.worker("w", 2).worker("tiny", 1, 20).running("r", "w", 1);
  s.queued("gang", {.ranks = 2}).queued("small", {}).queued("tiny", {.bytes = 20}).decide();
  EXPECT_EQ(s.started, Ids{"tiny"});
  EXPECT_EQ(s.why(0), Wait::Kind::kSlots);
  EXPECT_EQ(s.result.waits[0].fitting, 2U);
  EXPECT_EQ(s.result.waits[0].free, 1U);
  EXPECT_EQ(s.why(1), Wait::Kind::kAhead);
  EXPECT_EQ(s.result.waits[1].name, "jobs/gang");
}

TEST(Pass, BackfillStartsOnlyWhatIsCertainToEndBeforeTheHeadCanStart) {
  Scene s;
  s.worker("w", 2).running("r", "w", 1, {}, 60'000);
  s.queued("gang", {.ranks = 2}).queued("long", {.limit_ms = 60'001}).queued("endless", {});
  s.queued("short", {.limit_ms = 60'000}).decide();
  EXPECT_EQ(s.started, Ids{"short"});
  EXPECT_EQ(s.result.waits[0].estimate_ms, s.input.now_ms + 60'000);
}

TEST(Pass, WithoutATimeLimitOfWhatRunsNothingIsBackfilled) {
  Scene s;
  s.worker("w", 2).running("r", "w", 1).queued("gang", {.ranks = 2}).queued("short", {.limit_ms = 1}).decide();
  EXPECT_TRUE(s.started.empty());
  EXPECT_EQ(s.result.waits[0].estimate_ms, 0);
}

TEST(Pass, AHeadOfOneQueueIsNotDelayedByAnotherQueue) {
  Scene s({{"a", 1, 0, 0, ""}, {"b", 1, 0, 0, ""}});
  s.worker("w", 4).running("r", "w", 2, {.queue = 1});
  s.queued("gang", {.ranks = 3}).queued("b", {.queue = 1}).decide();
  EXPECT_TRUE(s.started.empty());
  EXPECT_EQ(s.why(1), Wait::Kind::kAhead);
}

TEST(Pass, AJobThatCanNeverFitKeepsNothingFromOthers) {
  Scene s;
  s.worker("w", 2).queued("huge", {.ranks = 3}).queued("two", {.ranks = 2}).decide();
  EXPECT_EQ(s.started, Ids{"two"});
  EXPECT_EQ(s.why(0), Wait::Kind::kNeverFits);
}

TEST(Pass, PriorityPreemptsTheFewestAndAmongThemTheNewest) {
  Scene s;
  s.worker("a", 2).worker("b", 2).worker("c", 1);
  s.running("old-2", "a", 2, {}, kNever, 9000).running("new-2", "b", 2, {}, kNever, 5000);
  s.running("newest-1", "c", 1, {}, kNever, 1000);
  s.queued("urgent", {.ranks = 2, .priority = 1}).decide();
  EXPECT_EQ(s.victims(), Set{"new-2"});
  EXPECT_EQ(s.why(0), Wait::Kind::kMakingRoom);
  EXPECT_EQ(s.result.waits[0].used, 2U);
}

TEST(Pass, NeitherEqualPriorityNorWhatIsNotPreemptibleNorWhatWasSparedMakesRoom) {
  Scene s;
  s.worker("w", 3).running("equal", "w", 1, {.priority = 1}).running("fixed", "w", 1, {.preemptible = false});
  s.running("spared", "w", 1).queued("urgent", {.priority = 1});
  s.input.running[2].spared_ms = 500;
  EXPECT_TRUE(s.decide().victims().empty());
  EXPECT_EQ(s.why(0), Wait::Kind::kSlots);
  EXPECT_EQ(s.result.waits[0].spared_ms, 500);
}

// Queue a is guaranteed one slot of three; queue b, two of which are its own, uses them all.
struct Borrowed : Scene {
  Borrowed() : Scene({{"a", 1, 1, 0, ""}, {"b", 1, 2, 0, ""}}) { worker("w", 3); }
  Scene& borrower(const std::string& id, int slots, int64_t spared_ms, int64_t from_guarantees_ms, int64_t age_ms) {
    running(id, "w", slots, {.queue = 1}, kNever, age_ms);
    input.running.back().spared_ms = spared_ms;
    input.running.back().spared_from_guarantees_ms = from_guarantees_ms;
    return *this;
  }
};

TEST(Pass, AGuaranteeTakesThoseThatMadeRoomBeforeOnlyWhereThereIsNobodyElse) {
  Borrowed s;
  s.borrower("spared", 1, 5000, 0, 1000);
  s.borrower("old", 1, 0, 0, 9000);
  s.borrower("older", 1, 0, 0, 10'000);
  s.queued("ours", {}).decide();
  EXPECT_EQ(s.victims(), Set{"old"});
  Borrowed all;
  all.borrower("new", 1, 5000, 0, 1000);
  all.borrower("old", 1, 5000, 0, 9000);
  all.borrower("just started", 1, 5000, 700, 500);
  all.queued("ours", {}).decide();
  EXPECT_EQ(all.victims(), Set{"new"});
}

TEST(Pass, WhereAllAreSparedForAMomentTheReasonSaysForHowLong) {
  Borrowed s;
  for (const int64_t left_ms : {700, 800, 900}) s.borrower("b", 1, 5000, left_ms, 1000 - left_ms);
  s.queued("ours", {}).decide();
  EXPECT_TRUE(s.victims().empty());
  EXPECT_EQ(s.result.waits[0].spared_ms, 900);
}

TEST(Pass, AGuaranteeTakesAGangThatIsBorrowedOnlyInPartWhereNobodyElseSuffices) {
  Borrowed gang;
  gang.borrower("gang", 3, 0, 0, 1000);
  gang.queued("ours", {}).decide();
  EXPECT_EQ(gang.victims(), Set{"gang"});
  Borrowed both;
  both.borrower("single", 1, 0, 0, 9000);
  both.borrower("gang", 2, 0, 0, 1000);
  both.queued("ours", {}).decide();
  EXPECT_EQ(both.victims(), Set{"single"});
}

TEST(Pass, NobodyMakesRoomForWhatThenStillWouldNotFit) {
  Scene s;
  s.worker("w", 3).running("fixed", "w", 2, {.preemptible = false}).running("r", "w", 1);
  s.queued("urgent", {.ranks = 2, .priority = 1}).decide();
  EXPECT_TRUE(s.victims().empty());
}

TEST(Pass, WhatIsBeingReleasedAnywayIsWaitedFor) {
  Scene s;
  s.worker("w", 2).running("ending", "w", 1).running("r", "w", 1);
  s.input.running[0].stopping = true;
  s.queued("urgent", {.priority = 1}).decide();
  EXPECT_TRUE(s.victims().empty());
}

TEST(Pass, AGuaranteeIsTakenBackFromBorrowersAndNoFurther) {
  Scene s({{"a", 1, 2, 0, ""}, {"b", 1, 2, 0, ""}});
  s.worker("w", 4);
  for (int i = 0; i < 4; ++i) s.running(absl::StrCat("b", i), "w", 1, {.queue = 1}, kNever, 1000 * (i + 1));
  s.queued("a1", {}).queued("a2", {}).queued("a3", {}).decide();
  // One head at a time; the newest borrower goes.
  EXPECT_EQ(s.victims(), Set{"b0"});
  Scene full({{"a", 1, 2, 0, ""}, {"b", 1, 4, 0, ""}});
  full.worker("w", 4);
  for (int i = 0; i < 4; ++i) full.running(absl::StrCat("b", i), "w", 1, {.queue = 1});
  full.queued("a1", {}).decide();
  EXPECT_TRUE(full.victims().empty());
}

TEST(Pass, HeldSlotsGoToTheJobThatTheyAreHeldForAndToNobodyElse) {
  Scene s;
  s.worker("w", 2).queued("holder", {.ranks = 2}, {{"w", 0}, {"w", 1}}).queued("other", {.priority = 0});
  s.fleet[0].slots[1].free = false;
  s.decide();
  EXPECT_TRUE(s.started.empty());
  EXPECT_EQ(s.why(0), Wait::Kind::kMakingRoom);
  s.fleet[0].slots[1].free = true;
  EXPECT_EQ(s.decide().started, Ids{"holder"});
}

TEST(Pass, AQueueThatIsNotConfiguredStartsNothing) {
  Scene s;
  s.input.queues[0].configured = false;
  s.worker("w", 1).queued("x", {}).decide();
  EXPECT_TRUE(s.started.empty());
  EXPECT_EQ(s.why(0), Wait::Kind::kNoQueue);
}

TEST(Pass, APassStartsABoundedNumberAndSaysThatThereIsMore) {
  Scene s;
  s.worker("w", 10);
  for (int i = 0; i < 10; ++i) s.queued("x", {});
  s.input.most_starts = 4;
  s.decide();
  EXPECT_EQ(s.started.size(), 4U);
  EXPECT_TRUE(s.result.more);
}

TEST(Pass, EstimatesFollowFromTimeLimitsInTurn) {
  Scene s;
  s.worker("w", 1).running("r", "w", 1, {}, 60'000);
  s.queued("next", {.limit_ms = 30'000}).queued("then", {.limit_ms = 30'000}).queued("last", {}).decide();
  EXPECT_EQ(s.result.waits[0].estimate_ms, s.input.now_ms + 60'000);
  EXPECT_EQ(s.result.waits[1].estimate_ms, s.input.now_ms + 90'000);
  EXPECT_EQ(s.result.waits[2].estimate_ms, s.input.now_ms + 120'000);
}

TEST(Pass, TheReasonIsInWordsWithFigures) {
  Demand wanted;
  wanted.rank_bytes.assign(2, 412ULL << 20);
  Wait wait;
  wait.position = 2;
  wait.queued = 3;
  wait.free = 1;
  wait.workers = 2;
  EXPECT_EQ(wait_message(wanted, wait, 0), "position 2 of 3; needs 2 slots of 412 MiB, 1 free on 2 workers");
  wait.estimate_ms = 130'000;
  EXPECT_EQ(wait_message(wanted, wait, 0),
            "position 2 of 3; needs 2 slots of 412 MiB, 1 free on 2 workers; expected to start in about 2 min");
  wait.estimate_ms = 0;
  wait.kind = Wait::Kind::kLimit;
  wait.name = "research";
  wait.used = 7;
  wait.limit = 8;
  EXPECT_EQ(wait_message(wanted, wait, 0),
            "position 2 of 3; needs 2 slots of 412 MiB, but queue research uses 7 of the 8 slots that it may");
  wait.kind = Wait::Kind::kNeverFits;
  wait.fitting = 1;
  wait.largest_bytes = 8ULL << 30;
  EXPECT_EQ(wait_message(wanted, wait, 0),
            "position 2 of 3; can never fit the fleet as it is: needs 2 slots of 412 MiB; 2 workers, even all idle, "
            "have 1 slot of that size, the largest of 8.0 GiB");
  wait.kind = Wait::Kind::kSlots;
  wait.spared_ms = 45'000;
  EXPECT_EQ(wait_message(wanted, wait, 0),
            "position 2 of 3; needs 2 slots of 412 MiB, 1 free on 2 workers; who would make room for it has made room "
            "before and is spared for about 45 s more");
  wait.spared_ms = 0;
  wait.kind = Wait::Kind::kBackoff;
  wait.until_ms = 2'500;
  EXPECT_EQ(wait_message(wanted, wait, 1'000), "position 2 of 3; tries again in 2 s");
}

}  // namespace
}  // namespace galleon::server
