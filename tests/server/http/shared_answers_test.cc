#include "server/http/shared_answers.h"

#include <gtest/gtest.h>

#include <vector>

namespace galleon::server {
namespace {

class Taken final : public Exchange {
 public:
  void reply(HttpReply reply) override { replies.push_back(std::move(reply)); }
  void begin_events(std::function<void()>) override {}
  void send_event(std::string, std::function<void()>) override {}
  void end_events(std::string) override {}

  std::vector<HttpReply> replies;
};

HttpRequest request(const std::string& cache_control) {
  return {.verb = "GET", .target = "/v1/jobs", .headers = {{"cache-control", cache_control}}};
}

class SharedAnswersTest : public testing::Test {
 protected:
  // Whether somebody else's answer is taken.
  bool ask(const std::string& key, double age) {
    exchanges_.push_back(std::make_shared<Taken>());
    return shared_.serve(key, absl::Seconds(age), now_, exchanges_.back(), [this] { ++asked_; });
  }
  const std::vector<HttpReply>& replies() const { return exchanges_.back()->replies; }

  SharedAnswers shared_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  std::vector<std::shared_ptr<Taken>> exchanges_;
  int asked_ = 0;
};

TEST(AgeTaken, IsWhatTheCallerSays) {
  EXPECT_EQ(SharedAnswers::age_taken(request("max-age=1")), absl::Seconds(1));
  EXPECT_EQ(SharedAnswers::age_taken(request("Max-Age=3, no-transform")), absl::Seconds(3));
  EXPECT_EQ(SharedAnswers::age_taken(request("max-age=86400")), SharedAnswers::kOldest);
  for (const char* own : {"", "no-cache", "max-age=0", "max-age=5, no-cache", "no-store,max-age=5", "max-age=-1",
                          "max-age=", "max-age=1s", "max-age=99999999999", "s-maxage=5"})
    EXPECT_EQ(SharedAnswers::age_taken(request(own)), absl::ZeroDuration()) << own;
}

TEST_F(SharedAnswersTest, OneIsMadeForThoseWhoAskMeanwhileAndSoonAfter) {
  EXPECT_FALSE(ask("a", 1));
  EXPECT_TRUE(ask("a", 1));
  EXPECT_TRUE(replies().empty());
  EXPECT_FALSE(ask("b", 1)) << "another question";
  now_ += absl::Milliseconds(300);
  shared_.made("a", now_, {.body = "jobs"}, now_);
  ASSERT_EQ(exchanges_[1]->replies.size(), 1U);
  EXPECT_EQ(exchanges_[1]->replies[0].body, "jobs");
  now_ += absl::Milliseconds(700);
  EXPECT_TRUE(ask("a", 1));
  ASSERT_EQ(replies().size(), 1U);
  EXPECT_EQ(replies()[0].headers.back(), std::make_pair(std::string("Age"), std::string("1")));
  now_ += absl::Milliseconds(1);
  EXPECT_FALSE(ask("a", 1)) << "it is older than a second, counted from when it was asked for";
  EXPECT_EQ(asked_, 0);
}

TEST_F(SharedAnswersTest, OneThatFailsIsNobodyElses) {
  EXPECT_FALSE(ask("a", 1));
  EXPECT_TRUE(ask("a", 1));
  EXPECT_TRUE(ask("a", 1));
  shared_.made("a", now_, {.status = 429}, now_);
  EXPECT_EQ(asked_, 2);
  EXPECT_TRUE(replies().empty());
  EXPECT_FALSE(ask("a", 1));
}

TEST_F(SharedAnswersTest, OneThatTakesLongIsNotWaitedForByThoseWhoWantItNewer) {
  EXPECT_FALSE(ask("a", 1));
  EXPECT_TRUE(ask("a", 1));
  now_ += absl::Seconds(2);
  EXPECT_FALSE(ask("a", 1));
  shared_.made("a", now_, {.body = "newer"}, now_);
  EXPECT_EQ(exchanges_[1]->replies.size(), 1U);
  shared_.made("a", now_, {.body = "older"}, now_);
  EXPECT_EQ(exchanges_[1]->replies.size(), 1U);
  EXPECT_FALSE(ask("a", 1)) << "it counts as old as the first of the two";
}

TEST_F(SharedAnswersTest, OneThatComesLateIsNotThatOfTheNextQuestion) {
  const absl::Time first = now_;
  EXPECT_FALSE(ask("a", 1));
  now_ += absl::Seconds(2);
  EXPECT_FALSE(ask("a", 1));
  shared_.made("a", now_, {.body = "second"}, now_);
  now_ += absl::Seconds(5);
  EXPECT_FALSE(ask("a", 1));
  EXPECT_TRUE(ask("a", 1));
  shared_.made("a", first, {.body = "first"}, now_);
  EXPECT_TRUE(replies().empty());
  shared_.made("a", now_, {.body = "third"}, now_);
  ASSERT_EQ(replies().size(), 1U);
  EXPECT_EQ(replies()[0].body, "third");
}

TEST_F(SharedAnswersTest, AClockThatIsSetBackMakesNothingYoung) {
  EXPECT_FALSE(ask("a", 10));
  shared_.made("a", now_, {.body = "jobs"}, now_);
  now_ -= absl::Hours(1);
  EXPECT_FALSE(ask("a", 10));
}

TEST_F(SharedAnswersTest, MemoryIsBoundedAndComesBack) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(ask(std::to_string(i), 10));
    shared_.made(std::to_string(i), now_, {.body = std::string(1 << 20, 'x')}, now_);
    EXPECT_LE(shared_.bytes(), SharedAnswers::kMostBytes);
  }
  EXPECT_TRUE(ask("3", 10));
  EXPECT_FALSE(ask("99", 10)) << "there was no room for it";
  shared_.made("99", now_, {.status = 500}, now_);
  now_ += SharedAnswers::kOldest + absl::Seconds(1);
  EXPECT_FALSE(ask("a", 10));
  EXPECT_EQ(shared_.bytes(), 0U);
}

}  // namespace
}  // namespace galleon::server
