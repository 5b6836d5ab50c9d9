// What the scheduler says of clocks that are wrong, and of what it deletes.
#include "server/api/clock_watch.h"

#include <gmock/gmock.h>

#include <atomic>

#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kDayMs = 24 * 3'600'000;

TEST(ClockWatch, AStartLongAfterTheJournalsNewestEntryIsToldAndOneBeforeIt) {
  const int64_t newest = 1'700'000'000'000;
  ClockWatch watch;
  EXPECT_THAT(watch.start({newest, 0}, 0), IsEmpty());
  EXPECT_THAT(watch.start({newest + 3 * kDayMs, 0}, newest), IsEmpty());
  EXPECT_THAT(watch.start({newest + 730 * kDayMs, 0}, newest),
              HasSubstr("the clock (2025-11-13 22:13:20 UTC) is 730 days after the newest entry of the journal"));
  EXPECT_THAT(watch.start({newest - kDayMs, 0}, newest), HasSubstr("is 1440 minutes before the newest entry"));
}

TEST(ClockWatch, AJumpIsToldOnce) {
  ClockWatch watch;
  EXPECT_THAT(watch.start({1'700'000'000'000, 0}, 0), IsEmpty());
  EXPECT_THAT(watch.look({1'700'000'050'000, 50'000}), IsEmpty());
  EXPECT_THAT(watch.look({1'700'000'050'000 + 3 * kDayMs, 50'000}), HasSubstr("has jumped ahead by 3 days"));
  EXPECT_THAT(watch.look({1'700'000'050'100 + 3 * kDayMs, 50'100}), IsEmpty());
  EXPECT_THAT(watch.look({1'700'000'050'200, 50'200}), HasSubstr("has jumped back by 3 days"));
  // A machine that slept: both clocks went on.
  EXPECT_THAT(watch.look({1'700'000'050'200 + kDayMs, 50'200 + kDayMs}), IsEmpty());
}

class HandClock final : public Clock {
 public:
  absl::Time now() const override { return absl::FromUnixMillis(wall_ms); }
  absl::Duration monotonic() const override { return absl::Milliseconds(mono_ms.load()); }
  std::atomic<int64_t> wall_ms = 1'700'000'000'000;
  std::atomic<int64_t> mono_ms = 1'000;
};

class ClockTest : public ServerTest {};

// What a watchdog is fed with: a timer beside the loop would go on.
TEST_F(ClockTest, ALoopThatHangsMakesNoRounds) {
  class Gate final : public Clock {
   public:
    absl::Time now() const override {
      const std::lock_guard<std::mutex> passes(gate);
      return absl::Now();
    }
    absl::Duration monotonic() const override { return machine.monotonic(); }
    SystemClock machine;
    mutable std::mutex gate;
  };
  Gate clock;
  std::atomic<int> rounds = 0;
  options_.clock = &clock;
  options_.on_round = [&rounds] { ++rounds; };
  start();
  EXPECT_TRUE(eventually([&] { return rounds > 2; }));
  {
    const std::lock_guard<std::mutex> closed(clock.gate);
    // It stands at its next look at the clock, and a call waits with it.
    v1::GetJobRequest request;
    request.set_name("jobs/none");
    v1::JobRecord record;
    EXPECT_EQ(jobs_->GetJob(context(absl::Milliseconds(500)).get(), request, &record).error_code(),
              grpc::DEADLINE_EXCEEDED);
    const int before = rounds;
    EXPECT_EQ(jobs_->GetJob(context(absl::Milliseconds(300)).get(), request, &record).error_code(),
              grpc::DEADLINE_EXCEEDED);
    EXPECT_EQ(rounds, before);
  }
  const int before = rounds;
  EXPECT_TRUE(eventually([&] { return rounds > before; }));
  stop();
}

TEST_F(ClockTest, AStartTwoYearsAheadIsToldAndWhatIsDeletedLaterIsNamed) {
  HandClock clock;
  options_.clock = &clock;
  start();
  const std::string id = submit(job_named("x"));
  v1::CancelJobRequest request;
  request.set_name("jobs/" + id);
  v1::JobRecord record;
  ASSERT_TRUE(jobs_->CancelJob(context().get(), request, &record).ok());
  stop();
  ASSERT_TRUE(make_folders(folder_ + "/data/logs/" + id).ok());
  clock.wall_ms += 730 * kDayMs;
  testing::internal::CaptureStdout();
  start();
  clock.mono_ms += kDayMs;
  clock.wall_ms += kDayMs;
  EXPECT_EQ(get(id).state(), v1::JobRecord::CANCELLED);
  clock.mono_ms += 31 * kDayMs;
  clock.wall_ms += 31 * kDayMs;
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(folder_ + "/data/logs/" + id); }));
  stop();
  const std::string log = testing::internal::GetCapturedStdout();
  EXPECT_THAT(log, HasSubstr("is 730 days after the newest entry of the journal"));
  EXPECT_THAT(
      log,
      HasSubstr("deletes records and logs of jobs of queue default, as they ended more than 30d ago: 1 job, x-1"));
}

}  // namespace
}  // namespace galleon::server
