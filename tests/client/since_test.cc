#include "client/since.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace galleon {
namespace {

using testing::HasSubstr;

TEST(Since, IsADurationADayOrATime) {
  EXPECT_EQ(*parse_since(""), absl::InfinitePast());
  EXPECT_EQ(*parse_since("2026-02-28T12:00:00Z"), absl::FromUnixSeconds(1'772'280'000));
  EXPECT_EQ(*parse_since("2026-02-28"), absl::FromCivil(absl::CivilDay(2026, 2, 28), absl::LocalTimeZone()));
  const absl::Time before = absl::Now();
  const absl::Time given = *parse_since("10m");
  EXPECT_GE(given, before - absl::Minutes(10));
  EXPECT_LE(given, absl::Now() - absl::Minutes(10));
  for (const char* wrong : {"soon", "-1m", "2026-13-01", "10 minutes"})
    EXPECT_THAT(std::string(parse_since(wrong).status().message()), HasSubstr("--since ")) << wrong;
}

constexpr char kLog[] =
    "a banner\n"
    "2026-02-28T11:59:59.999+00:00 info old\n"
    "  more of it\n"
    "2026-02-28T13:00:00.000+01:00 info the same moment elsewhere\n"
    "trace\n"
    "2026-02-28T11:00:00.000+00:00 info a clock that went back\n"
    "no end";

TEST(Since, OfALogLeavesOutWhatIsOlderInWhateverPiecesItComes) {
  const std::string log = kLog;
  for (const size_t size : {size_t{1}, size_t{7}, log.size()}) {
    LogSince since(*parse_since("2026-02-28T12:00:00Z"));
    std::string shown;
    for (size_t at = 0; at < log.size(); at += size) shown += since.add(log.substr(at, size));
    shown += since.finish();
    EXPECT_EQ(shown, log.substr(log.find("2026-02-28T13"))) << size;
    EXPECT_FALSE(since.lacks_times());
  }
}

TEST(Since, OfALogWithoutTimesIsKnown) {
  LogSince since(absl::Now());
  EXPECT_FALSE(since.lacks_times());
  EXPECT_EQ(since.add("no time\nhere\n") + since.finish(), "");
  EXPECT_TRUE(since.lacks_times());
}

}  // namespace
}  // namespace galleon
