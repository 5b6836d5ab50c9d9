#include "common/base/duration_text.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

TEST(DurationText, IsWhatPeopleWrite) {
  EXPECT_EQ(duration_text(absl::Hours(720)), "30d");
  EXPECT_EQ(duration_text(absl::Hours(36)), "1d12h");
  EXPECT_EQ(duration_text(absl::Hours(24) + absl::Seconds(5)), "1d5s");
  EXPECT_EQ(duration_text(absl::Minutes(90)), "1h30m");
  EXPECT_EQ(duration_text(absl::Seconds(45)), "45s");
  EXPECT_EQ(duration_text(absl::ZeroDuration()), "0");
  EXPECT_EQ(duration_text(-absl::Hours(36)), "-1d12h");
  EXPECT_EQ(duration_text(absl::InfiniteDuration()), "inf");
  EXPECT_EQ(duration_text(-absl::InfiniteDuration()), "-inf");
}

TEST(DurationText, IsReadBack) {
  EXPECT_EQ(parse_duration_text("30d"), absl::Hours(720));
  EXPECT_EQ(parse_duration_text("1d12h"), absl::Hours(36));
  EXPECT_EQ(parse_duration_text("1h30m"), absl::Minutes(90));
  EXPECT_EQ(parse_duration_text("0"), absl::ZeroDuration());
  for (const char* wrong : {"", "d", "-1d", "1d-2h", "-3s", "1d 2h", "2h1d", "1.5d", "soon", "99999999999999999999d"})
    EXPECT_EQ(parse_duration_text(wrong), std::nullopt) << wrong;
}

}  // namespace
}  // namespace galleon
