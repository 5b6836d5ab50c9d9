#include "server/core/usage.h"

#include <gtest/gtest.h>

#include <cmath>

namespace galleon::server {
namespace {

constexpr int64_t kHour = 3'600'000;

v1::JobRecord record_of(const std::string& owner, v1::JobRecord::State state, uint64_t folder_bytes = 0) {
  v1::JobRecord record;
  record.set_queue("q");
  record.set_project("lab");
  record.set_owner(owner);
  record.set_state(state);
  record.set_folder_bytes(folder_bytes);
  return record;
}

TEST(Usage, WhoHoldsSlotsAllTheTimeComesToThatManyAndHalfOfItAfterAHalfLife) {
  Usage usage;
  usage.set_half_lives({{"q", kHour}}, 0);
  usage.change_slots("q", "ann", 4, 0);
  EXPECT_EQ(usage.recent_slots("q", "ann", 0), 0);
  EXPECT_NEAR(usage.recent_slots("q", "ann", kHour), 2, 1e-9);
  EXPECT_NEAR(usage.recent_slots("q", "ann", 50 * kHour), 4, 1e-9);
  usage.change_slots("q", "ann", -4, 50 * kHour);
  EXPECT_NEAR(usage.recent_slots("q", "ann", 51 * kHour), 2, 1e-9);
  EXPECT_NEAR(usage.recent_slots("q", "ann", 53 * kHour), 0.5, 1e-9);
  EXPECT_EQ(usage.recent_slots("q", "bob", 53 * kHour), 0);
}

TEST(Usage, AClockThatGoesBackTakesNothingAndGivesNothing) {
  Usage usage;
  usage.set_half_lives({{"q", kHour}}, 0);
  usage.change_slots("q", "ann", 2, 10 * kHour);
  usage.change_slots("q", "ann", 1, 9 * kHour);
  EXPECT_EQ(usage.recent_slots("q", "ann", 9 * kHour), 0);
  EXPECT_NEAR(usage.recent_slots("q", "ann", 10 * kHour), 1.5, 1e-9);
}

TEST(Usage, AnotherHalfLifeKeepsTheAverageAndAQueueWithoutTurnsForgetsIt) {
  Usage usage;
  usage.set_half_lives({{"q", kHour}}, 0);
  usage.change_slots("q", "ann", 4, 0);
  usage.change_slots("q", "ann", -4, kHour);
  usage.set_half_lives({{"q", 10 * kHour}}, kHour);
  EXPECT_NEAR(usage.recent_slots("q", "ann", kHour), 2, 1e-9);
  EXPECT_NEAR(usage.recent_slots("q", "ann", 11 * kHour), 1, 1e-9);
  usage.set_half_lives({}, 11 * kHour);
  usage.set_half_lives({{"q", kHour}}, 12 * kHour);
  EXPECT_EQ(usage.recent_slots("q", "ann", 12 * kHour), 0);
}

TEST(Usage, ASnapshotRemembersWhatWasUsedLately) {
  Usage usage;
  usage.set_half_lives({{"q", kHour}}, 0);
  usage.change_slots("q", "ann", 3, 0);
  usage.change_slots("q", "bob", 1, kHour);
  usage.change_slots("q", "bob", -1, 2 * kHour);
  v1::StateSnapshot snapshot;
  usage.save(snapshot);
  Usage again;
  again.restore(snapshot);
  again.restore_slots("q", "ann", 3);
  for (const char* user : {"ann", "bob"})
    EXPECT_EQ(again.recent_slots("q", user, 5 * kHour), usage.recent_slots("q", user, 5 * kHour)) << user;
  v1::StateSnapshot same;
  again.save(same);
  EXPECT_EQ(same.SerializeAsString(), snapshot.SerializeAsString());
}

TEST(Usage, WhoHasNothingAndUsedNothingForLongIsForgotten) {
  Usage usage;
  usage.set_half_lives({{"q", kHour}}, 0);
  for (int i = 0; i < 100; ++i) {
    const std::string user = "u" + std::to_string(i);
    usage.change_slots("q", user, 1, i * 10 * kHour);
    usage.change_slots("q", user, -1, i * 10 * kHour + 60'000);
  }
  EXPECT_LT(usage.users_of_queue("q").size(), 5U);
}

TEST(Usage, JobsThatWaitAndFoldersCountForTheirUserAndProject) {
  Usage usage;
  usage.count(record_of("ann", v1::JobRecord::QUEUED, 100), 1);
  usage.count(record_of("ann", v1::JobRecord::FAILED, 50), 1);
  usage.count(record_of("bob", v1::JobRecord::RUNNING, 7), 1);
  EXPECT_EQ(usage.in_queue("q", "ann").queued, 1U);
  EXPECT_EQ(usage.in_project("lab", "ann").folder_bytes, 150U);
  EXPECT_EQ(usage.in_project("lab").folder_bytes, 157U);
  EXPECT_EQ(usage.in_project("lab").queued, 1U);
  usage.count(record_of("ann", v1::JobRecord::QUEUED, 100), -1);
  usage.count(record_of("ann", v1::JobRecord::FAILED, 50), -1);
  usage.count(record_of("bob", v1::JobRecord::RUNNING, 7), -1);
  EXPECT_TRUE(usage.projects().empty());
  EXPECT_TRUE(usage.users_of_queue("q").empty());
}

}  // namespace
}  // namespace galleon::server
