// Who is told what, with a scheduler under a hand-moved clock: filters, numbers, and what a restart leaves.
#include "server/notify/notifier.h"

#include <gmock/gmock.h>

#include "tests/server/core/world.h"
#include "tests/server/notify/http_server.h"

namespace galleon::server {
namespace {

using Json = nlohmann::json;

class NotifierTest : public testing::Test {
 protected:
  NotifierTest() : w_(two_queues()), server_([this](const HttpServer::Request&) { return answer_.load(); }) { begin(); }
  static SchedulerOptions two_queues() {
    SchedulerOptions options;
    options.queues = {{"default", 1, 0, 0, "default"}, {"lab", 1, 0, 0, "default"}};
    return options;
  }
  void begin() {
    Notifier::Options options;
    options.clock = &clock_;
    options.counted = [](const std::string&, SendResult) {};
    options.sending.first_pause = options.sending.longest_pause = absl::Milliseconds(10);
    notifier_ = std::make_unique<Notifier>(std::move(options));
  }
  // A receiver of its own path.
  ReceiverConfig receiver(const std::string& name) const {
    ReceiverConfig config;
    config.name = name;
    config.url = server_.url("/" + name);
    config.kinds = {std::begin(kNotificationKinds), std::end(kNotificationKinds)};
    return config;
  }
  void replace(std::vector<ReceiverConfig> receivers) {
    notifier_->replace({absl::ZeroDuration(), std::move(receivers)});
  }
  void feed() {
    w_.tick();
    notifier_->feed(*w_.scheduler, w_.now);
    w_.collect();
  }
  // Feeds until the receiver took so many, and that is in the journal.
  void until_told(const std::string& name, uint64_t number) {
    ASSERT_TRUE(eventually([&] {
      feed();
      const auto& known = w_.scheduler->state().receivers();
      return known.contains(name) && known.at(name).number() >= number;
    }));
  }
  std::vector<Json> told(const std::string& name) const {
    std::vector<Json> bodies;
    for (const HttpServer::Request& request : server_.taken()) {
      if (request.path == "/" + name) bodies.push_back(request.json());
    }
    return bodies;
  }
  std::vector<std::string> kinds(const std::string& name) const {
    std::vector<std::string> found;
    for (const Json& body : told(name)) found.push_back(body["type"]);
    return found;
  }
  std::string submit(const std::string& name, const std::string& queue) {
    v1::Job job = job_named(name);
    job.mutable_scheduling()->set_queue(queue);
    return w_.submit(job);
  }
  void cancel(const std::string& id) {
    ASSERT_TRUE(w_.scheduler->cancel(w_.now, id, "", "enough", "ann").ok());
    w_.tick();
  }

  SystemClock clock_;
  World w_;
  std::atomic<int> answer_ = 200;
  HttpServer server_;
  std::unique_ptr<Notifier> notifier_;
};

TEST_F(NotifierTest, EachIsToldOfWhatItAskedForWithNumbersOfItsOwn) {
  ReceiverConfig lab = receiver("lab");
  lab.queues = {"lab"};
  ReceiverConfig fleet = receiver("fleet");
  fleet.kinds = {"worker.cordoned", "worker.gone"};
  replace({receiver("all"), lab, fleet});
  feed();
  const std::string first = submit("a", "default");
  const std::string second = submit("b", "lab");
  cancel(first);
  cancel(second);
  ASSERT_TRUE(w_.join(worker_named("w", 1)).ok());
  ASSERT_TRUE(w_.scheduler->order_worker(w_.now, "w", v1::Worker::CORDONED, "disk", "", "op").ok());
  until_told("all", 3);
  until_told("lab", 1);
  until_told("fleet", 1);
  EXPECT_EQ(kinds("all"), (std::vector<std::string>{"job.cancelled", "job.cancelled", "worker.cordoned"}));
  EXPECT_EQ(kinds("lab"), std::vector<std::string>{"job.cancelled"});
  EXPECT_EQ(kinds("fleet"), std::vector<std::string>{"worker.cordoned"});
  const Json body = told("lab")[0];
  EXPECT_EQ(body["text"], "jobs/b-2 in queue lab: cancelled: cancelled: enough (ann)");
  EXPECT_EQ(body["data"]["job"]["job_id"], second);
  EXPECT_EQ(body["data"]["job"]["queue"], "lab");
  EXPECT_EQ(body["data"]["number"], 1);
  EXPECT_EQ(body["data"]["actor"], "ann");
  EXPECT_EQ(told("fleet")[0]["text"], "workers/w: cordoned: disk (op)");
  EXPECT_EQ(told("all")[2]["data"]["number"], 3);
}

TEST_F(NotifierTest, OwnersAreToldOfTheirOwnJobsAlone) {
  ReceiverConfig ann = receiver("ann");
  ann.owners = {"ann"};
  replace({ann});
  feed();
  for (const char* owner : {"ann", "bob"}) {
    const absl::StatusOr<std::string> id = w_.scheduler->submit(
        w_.now, {job_named("x"), plan_of(1, 1 << 20), "", "/jobs", w_.scheduler->next_number(), owner});
    ASSERT_TRUE(id.ok());
    cancel(*id);
  }
  ASSERT_TRUE(w_.join(worker_named("w", 1)).ok());
  ASSERT_TRUE(w_.scheduler->order_worker(w_.now, "w", v1::Worker::CORDONED, "", "").ok());
  until_told("ann", 1);
  for (int i = 0; i < 5; ++i) feed();
  ASSERT_EQ(told("ann").size(), 1U);
  EXPECT_EQ(told("ann")[0]["data"]["job"]["owner"], "ann");
}

TEST_F(NotifierTest, AfterARestartItGoesOnWhereItWasAndMissesNothing) {
  replace({receiver("r")});
  feed();
  cancel(submit("a", "default"));
  until_told("r", 1);
  // The next ones find nobody, and then the scheduler dies.
  answer_ = 503;
  cancel(submit("b", "default"));
  feed();
  ASSERT_TRUE(eventually([this] { return server_.requests().size() > 2; }));
  notifier_.reset();
  cancel(submit("c", "default"));
  w_.restart();
  answer_ = 200;
  begin();
  replace({receiver("r")});
  until_told("r", 3);
  ASSERT_EQ(told("r").size(), 3U);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(told("r")[i]["data"]["number"], i + 1);
    EXPECT_EQ(told("r")[i]["data"]["job"]["name"], std::string(1, static_cast<char>('a' + i)));
  }
  // What the journal does not know of yet is told again, under the same id.
  std::set<std::string> ids;
  for (const HttpServer::Request& request : server_.requests()) ids.insert(request.headers.at("webhook-id"));
  EXPECT_EQ(ids.size(), 3U);
}

TEST_F(NotifierTest, ANewReceiverIsToldOfWhatComesAndOneThatIsGoneIsForgotten) {
  cancel(submit("before", "default"));
  replace({receiver("r")});
  feed();
  cancel(submit("after", "default"));
  until_told("r", 1);
  EXPECT_EQ(told("r")[0]["data"]["job"]["name"], "after");
  replace({});
  feed();
  EXPECT_TRUE(w_.scheduler->state().receivers().empty());
  cancel(submit("meanwhile", "default"));
  replace({receiver("r")});
  feed();
  cancel(submit("later", "default"));
  until_told("r", 1);
  ASSERT_EQ(told("r").size(), 2U);
  EXPECT_EQ(told("r")[1]["data"]["job"]["name"], "later");
}

TEST_F(NotifierTest, OneThatTakesNothingHoldsNobody) {
  ReceiverConfig slow = receiver("slow");
  slow.url = "http://127.0.0.1:1/slow";
  replace({slow, receiver("r")});
  feed();
  for (int i = 0; i < 40; ++i) cancel(submit("x", "default"));
  until_told("r", 40);
  EXPECT_EQ(w_.scheduler->state().receivers().at("slow").number(), 0U);
  EXPECT_GT(notifier_->behind().at("slow"), 0);
  EXPECT_EQ(notifier_->behind().at("r"), 0);
}

TEST_F(NotifierTest, WhatIsNoLongerKeptIsSaidToBeLost) {
  replace({receiver("r")});
  feed();
  notifier_.reset();
  const std::string id = submit("busy", "default");
  for (int i = 1; i <= 150; ++i) {
    v1::ReprioritizeJobRequest request;
    request.set_name(id);
    request.set_priority(i);
    ASSERT_TRUE(w_.scheduler->reprioritize(w_.now, request).ok());
  }
  cancel(id);
  // From a snapshot, which has the newest hundred of each job.
  const v1::StateSnapshot snapshot = w_.scheduler->state().to_proto();
  w_.scheduler = std::make_unique<Scheduler>(w_.options);
  w_.scheduler->restore(snapshot);
  w_.scheduler->recovered(w_.now);
  begin();
  replace({receiver("r")});
  until_told("r", 2);
  EXPECT_EQ(kinds("r"), (std::vector<std::string>{"events.lost", "job.cancelled"}));
}

TEST_F(NotifierTest, WhoWaitsForLongIsToldOfOncePerWait) {
  w_.scheduler->set_long_wait(60'000);
  replace({receiver("r")});
  feed();
  const std::string id = submit("x", "default");
  w_.tick(59'000);
  EXPECT_FALSE(w_.scheduler->state().job(id)->waits_long());
  w_.tick(2'000);
  EXPECT_TRUE(w_.scheduler->state().job(id)->waits_long());
  w_.tick(120'000);
  until_told("r", 1);
  w_.restart();
  w_.scheduler->set_long_wait(60'000);
  w_.tick(120'000);
  for (int i = 0; i < 5; ++i) feed();
  ASSERT_EQ(kinds("r"), std::vector<std::string>{"job.waits"});
  EXPECT_THAT(told("r")[0]["text"].get<std::string>(),
              testing::HasSubstr("jobs/x-1 in queue default: waits for long: position 1 of 1; needs"));
}

}  // namespace
}  // namespace galleon::server
