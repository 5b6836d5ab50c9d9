// One receiver against a real web server: it answers 200, 500, late, never, or is not there.
#include "server/notify/receiver.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "absl/strings/escaping.h"
#include "common/base/ids.h"
#include "common/net/certificates.h"
#include "tests/server/notify/http_server.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;
using testing::Not;

Notification numbered(uint64_t number) {
  return {absl::StrCat("galleon-", 10 * number, "-5"), 10 * number, number, 5, absl::StrCat("{\"n\":", number, "}")};
}

class ReceiverTest : public testing::Test {
 protected:
  ReceiverTest() {
    config_.name = "r";
    config_.host = "127.0.0.1";
    config_.timeout = absl::Seconds(1);
    options_.clock = &clock_;
    options_.first_pause = absl::Milliseconds(10);
    options_.longest_pause = absl::Milliseconds(40);
    options_.counted = [this](SendResult result) { ++counts_[static_cast<size_t>(result)]; };
  }
  std::unique_ptr<Receiver> make(const std::string& url) {
    config_.url = url;
    return std::make_unique<Receiver>(config_, options_);
  }
  int count(SendResult result) const { return counts_[static_cast<size_t>(result)]; }

  SystemClock clock_;
  ReceiverConfig config_;
  Receiver::Options options_;
  std::atomic<int> counts_[3] = {0, 0, 0};
};

std::vector<std::string> bodies(const std::vector<HttpServer::Request>& requests) {
  std::vector<std::string> found;
  for (const HttpServer::Request& request : requests) found.push_back(request.body);
  return found;
}

TEST_F(ReceiverTest, EachIsSentInOrderAndAgainUntilItIsTaken) {
  std::atomic<int> calls = 0;
  const int answers[] = {200, 500, HttpServer::kHangUp, 302, 404, 204, HttpServer::kNever, 200};
  const HttpServer server([&](const HttpServer::Request&) { return answers[calls++ % 8]; });
  const auto receiver = make(server.url());
  receiver->add({numbered(1), numbered(2)});
  receiver->add({numbered(3)});
  EXPECT_TRUE(server.takes(3));
  EXPECT_EQ(bodies(server.taken()), (std::vector<std::string>{"{\"n\":1}", "{\"n\":2}", "{\"n\":3}"}));
  // A redirect is not followed.
  for (const HttpServer::Request& request : server.requests()) EXPECT_EQ(request.path, "/hook");
  EXPECT_EQ(server.requests().size(), 8U);
  EXPECT_TRUE(eventually([&] { return receiver->position().number == 3; }));
  EXPECT_EQ(receiver->position().revision, 30U);
  EXPECT_EQ(receiver->waiting(), 0U);
  EXPECT_EQ(count(SendResult::kSent), 3);
  EXPECT_EQ(count(SendResult::kFailed), 5);
  EXPECT_EQ(count(SendResult::kGivenUp), 0);
}

TEST_F(ReceiverTest, WhatIsSentIsSignedAsStandardWebhooksDo) {
  std::string secret;
  ASSERT_TRUE(absl::Base64Unescape("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &secret));
  // By openssl dgst -sha256 -mac HMAC over the same text.
  EXPECT_EQ(signature_of(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  config_.secret = secret;
  const HttpServer server([](const HttpServer::Request&) { return 200; });
  const auto receiver = make(server.url());
  receiver->add({numbered(1)});
  ASSERT_TRUE(server.takes(1));
  HttpServer::Request request = server.taken()[0];
  EXPECT_EQ(request.headers["content-type"], "application/json");
  EXPECT_EQ(request.headers["webhook-id"], "galleon-10-5");
  int64_t seconds = 0;
  ASSERT_TRUE(absl::SimpleAtoi(request.headers["webhook-timestamp"], &seconds));
  EXPECT_LT(std::abs(seconds - absl::ToUnixSeconds(absl::Now())), 300);
  EXPECT_EQ(request.headers["webhook-signature"], signature_of(secret, "galleon-10-5", seconds, request.body));
  EXPECT_FALSE(request.headers.contains("expect"));
}

TEST_F(ReceiverTest, WhatNobodyTakesIsGivenUpSoThatTheOthersCome) {
  options_.patience = absl::Milliseconds(100);
  const HttpServer server([](const HttpServer::Request& request) { return request.body == "{\"n\":1}" ? 400 : 200; });
  const auto receiver = make(server.url());
  receiver->add({numbered(1), numbered(2)});
  EXPECT_TRUE(server.takes(1));
  EXPECT_EQ(server.taken()[0].body, "{\"n\":2}");
  EXPECT_EQ(count(SendResult::kGivenUp), 1);
}

TEST_F(ReceiverTest, ItEndsSoonWhateverTheOtherSideDoes) {
  config_.timeout = absl::Minutes(1);
  const HttpServer server([](const HttpServer::Request&) { return HttpServer::kNever; });
  auto receiver = make(server.url());
  receiver->add({numbered(1)});
  ASSERT_TRUE(eventually([&] { return !server.requests().empty(); }));
  EXPECT_GT(receiver->behind(absl::Now()), absl::Hours(1));  // it happened at the beginning of the epoch
  const absl::Time begun = absl::Now();
  receiver.reset();
  EXPECT_LT(absl::Now() - begun, absl::Seconds(30));
  // And while it waits before it tries again.
  options_.first_pause = options_.longest_pause = absl::Hours(1);
  receiver = make("http://127.0.0.1:1/");
  receiver->add({numbered(1)});
  ASSERT_TRUE(eventually([&] { return count(SendResult::kFailed) > 0; }));
  receiver.reset();
  EXPECT_LT(absl::Now() - begun, absl::Seconds(60));
}

TEST_F(ReceiverTest, TheAuthorityOfACertificateIsLookedAtAndNoMessageHasTheUrl) {
  const std::string folder = testing::TempDir() + "/hook-" + random_hex(4);
  ASSERT_TRUE(init_tls(folder, {"127.0.0.1"}, absl::Hours(1)).ok());
  const HttpServer server([](const HttpServer::Request&) { return 200; }, folder + "/server");
  config_.url = server.url("/hidden-word");
  std::atomic<bool> stop = false;
  const absl::Status unknown = Webhook(config_, &stop).post(numbered(1), absl::Now());
  EXPECT_FALSE(unknown.ok());
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("127.0.0.1: "));
  EXPECT_THAT(std::string(unknown.message()), Not(HasSubstr("hidden-word")));
  EXPECT_TRUE(server.requests().empty());
  config_.ca_file = folder + "/server/ca.pem";
  const absl::Status taken = Webhook(config_, &stop).post(numbered(1), absl::Now());
  EXPECT_TRUE(taken.ok()) << taken;
  EXPECT_EQ(server.taken().size(), 1U);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace galleon::server
