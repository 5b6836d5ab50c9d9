#include "common/net/bounded_message.h"

#include <gtest/gtest.h>

#include "common/base/bounded_text.h"
#include "galleon/v1/workers.pb.h"

namespace galleon {
namespace {

TEST(BoundedMessage, EveryTextIsShortenedWhereverItStands) {
  v1::RankReport report;
  report.mutable_id()->set_job_id("books-1");
  report.mutable_finished()->set_message(std::string(5'000'000, 'm'));
  report.mutable_stage()->set_detail("short");
  (*report.mutable_evaluation()->mutable_metrics())[std::string(10'000, 'k')] = 1;
  report.set_rendezvous_payload(std::string(10'000, '\xFF'));
  bound_texts(report, kLongestText);
  EXPECT_LE(report.finished().message().size(), kLongestText);
  EXPECT_EQ(report.stage().detail(), "short");
  EXPECT_EQ(report.id().job_id(), "books-1");
  EXPECT_EQ(report.evaluation().metrics().size(), 1U);
  EXPECT_LE(report.evaluation().metrics().begin()->first.size(), kLongestText);
  EXPECT_EQ(report.rendezvous_payload(), "") << "a part of bytes means nothing";
  v1::RankReport read;
  EXPECT_TRUE(read.ParseFromString(report.SerializeAsString()));
}

TEST(BoundedMessage, ManySmallTextsAreShrunkUntilTheyFit) {
  v1::RankReport report;
  for (int i = 0; i < 100'000; ++i)
    (*report.mutable_evaluation()->mutable_metrics())[std::string(300, 'k') + std::to_string(i)] = i;
  report.mutable_id()->set_job_id("books-1");
  report.mutable_finished()->set_message("why it ended");
  shrink_message(report, 32 << 10);
  EXPECT_LE(report.ByteSizeLong(), 32U << 10);
  EXPECT_EQ(report.id().job_id(), "books-1");
  EXPECT_EQ(report.finished().message(), "why it ended");
}

}  // namespace
}  // namespace galleon
