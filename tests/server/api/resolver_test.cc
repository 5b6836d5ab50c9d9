// Jobs whose models workers read: another worker where one lacks something, an error where none has it.
#include "server/api/resolver.h"

#include <future>

#include "absl/strings/match.h"
#include "tests/server/api/harness.h"

namespace galleon::server {
namespace {

class ResolverTest : public ServerTest {
 protected:
  // Workers are silent here for as long as a busy machine takes.
  void SetUp() override {
    ServerTest::SetUp();
    options_.scheduler.lease_ms = 600'000;
  }
  struct Answer {
    grpc::Status status;
    v1::ResolveJobResponse response;
  };
  static v1::Job unresolved(const std::string& name = "novels") {
    v1::Job job = job_named(name);
    job.clear_shape();
    return job;
  }
  std::future<Answer> ask(v1::Job job = unresolved()) {
    return std::async(std::launch::async, [this, job = std::move(job)] {
      Answer answer;
      v1::ResolveJobRequest request;
      *request.mutable_job() = job;
      answer.status = jobs_->ResolveJob(context().get(), request, &answer.response);
      return answer;
    });
  }
  // One sync that also says what was read.
  void say(Daemon& daemon, const std::vector<v1::Resolved>& resolved, uint64_t wait_ms = 0) {
    v1::SyncWorkerRequest request;
    request.set_worker_id(daemon.id);
    request.set_incarnation("i-" + daemon.id);
    request.set_sequence(++daemon.sequence);
    request.set_session(daemon.registration.session());
    request.set_wait_milliseconds(wait_ms);
    request.set_seen_revision(daemon.last.revision());
    for (const v1::Resolved& one : resolved) *request.add_resolved() = one;
    daemon.last.Clear();
    const grpc::Status status = workers_->SyncWorker(context().get(), request, &daemon.last);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  uint64_t order_of(Daemon& daemon) {
    EXPECT_TRUE(eventually([&] {
      say(daemon, {}, 100);
      return daemon.last.resolve_size() > 0;
    }));
    return daemon.last.resolve_size() == 0 ? 0 : daemon.last.resolve(0).number();
  }
  static v1::Resolved read(uint64_t number, uint64_t layers) {
    v1::Resolved resolved;
    resolved.set_number(number);
    resolved.mutable_shape()->set_layers(layers);
    return resolved;
  }
  static v1::Resolved failed(uint64_t number, const std::string& error, bool place) {
    v1::Resolved resolved;
    resolved.set_number(number);
    resolved.set_error(error);
    resolved.set_place(place);
    return resolved;
  }
};

TEST_F(ResolverTest, AWorkerReadsTheModelAndIsToldOnce) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  std::future<Answer> asked = ask();
  const uint64_t number = order_of(a);
  EXPECT_EQ(a.last.resolve(0).job().name(), "novels");
  // Until it has said so, it is listed again: an answer may be lost.
  say(a, {});
  ASSERT_EQ(a.last.resolve_size(), 1);
  say(a, {read(number, 7)});
  EXPECT_EQ(a.last.resolve_size(), 0);
  const Answer answer = asked.get();
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.response.shape().layers(), 7U);
  EXPECT_EQ(answer.response.worker_id(), "a");
}

TEST_F(ResolverTest, AWaitingWorkerIsToldAtOnce) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  std::future<void> waits = std::async(std::launch::async, [&] {
    while (a.last.resolve_size() == 0) say(a, {}, 60'000);
  });
  std::future<Answer> asked = ask();
  waits.get();
  say(a, {read(a.last.resolve(0).number(), 3)});
  EXPECT_TRUE(asked.get().status.ok());
}

TEST_F(ResolverTest, WhatOneLacksAnotherMayHave) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  Daemon b{"b", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  ASSERT_TRUE(join(b).ok());
  std::future<Answer> asked = ask();
  say(a, {failed(order_of(a), "tokenizer: there is no /t", true)});
  say(b, {read(order_of(b), 5)});
  EXPECT_EQ(asked.get().response.worker_id(), "b");

  asked = ask();
  say(a, {failed(order_of(a), "tokenizer: there is no /t", true)});
  say(b, {failed(order_of(b), "data.train: there is no /d", true)});
  Answer answer = asked.get();
  EXPECT_EQ(answer.status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(answer.status.error_message(),
            "on worker a: tokenizer: there is no /t; on worker b: data.train: there is no /d");

  // What is wrong anywhere is asked once.
  asked = ask();
  say(a, {failed(order_of(a), "data.train: no rows", false)});
  answer = asked.get();
  EXPECT_EQ(answer.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(answer.status.error_message(), "on worker a: data.train: no rows");
}

TEST_F(ResolverTest, AWorkerThatTakesNoJobsIsNotAsked) {
  start();
  EXPECT_TRUE(absl::StrContains(ask().get().status.error_message(), "no worker is ready that could read"));
  Daemon a{"a", {}, {}, {}, 0};
  Daemon b{"b", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  ASSERT_TRUE(join(b).ok());
  std::future<Answer> asked = ask();
  (void)order_of(a);
  v1::CordonWorkerRequest cordon;
  cordon.set_name("workers/a");
  v1::Worker worker;
  ASSERT_TRUE(workers_->CordonWorker(context().get(), cordon, &worker).ok());
  say(b, {read(order_of(b), 5)});
  EXPECT_EQ(asked.get().response.worker_id(), "b");
  v1::Job elsewhere = unresolved();
  (*elsewhere.mutable_scheduling()->mutable_labels())["zone"] = "z";
  EXPECT_TRUE(absl::StrContains(ask(elsewhere).get().status.error_message(), "no worker with labels zone=z is ready"));
}

TEST_F(ResolverTest, AnswersOfOthersAndToNothingAreNotTaken) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  Daemon b{"b", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  ASSERT_TRUE(join(b).ok());
  std::future<Answer> asked = ask();
  const uint64_t number = order_of(a);
  say(b, {read(number, 9), read(number + 1, 9), read(0, 9)});
  EXPECT_EQ(b.last.resolve_size(), 0);
  say(a, {read(number, 4), read(number, 8)});
  EXPECT_EQ(asked.get().response.shape().layers(), 4U);
}

TEST_F(ResolverTest, AWorkerGetsAFewAtATimeAndACallerAsksForSoManyAtMost) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  std::vector<std::future<Answer>> asked;
  for (int i = 0; i < 20; ++i) asked.push_back(ask(unresolved(absl::StrCat("job-", i))));
  std::vector<v1::Resolved> done;
  int read_here = 0;
  const auto pending = [&] {
    return std::any_of(asked.begin(), asked.end(), [](const std::future<Answer>& one) {
      return one.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    });
  };
  ASSERT_TRUE(eventually([&] {
    say(a, done, 20);
    EXPECT_LE(a.last.resolve_size(), 4);
    done.clear();
    for (const v1::ResolveOrder& order : a.last.resolve()) {
      done.push_back(read(order.number(), 1));
      ++read_here;
    }
    return !pending();
  }));
  int refused = 0;
  for (std::future<Answer>& one : asked) {
    const Answer answer = one.get();
    refused += answer.status.error_code() == grpc::RESOURCE_EXHAUSTED;
    EXPECT_TRUE(answer.status.ok() || answer.status.error_code() == grpc::RESOURCE_EXHAUSTED)
        << answer.status.error_message();
  }
  EXPECT_EQ(read_here + refused, 20);
}

TEST_F(ResolverTest, WhatIsNoQuestionIsRefused) {
  start();
  const auto refused = [&](const v1::Job& job) { return ask(job).get().status; };
  EXPECT_TRUE(absl::StrContains(refused(job_named("novels")).error_message(), "job.shape: is what is asked for"));
  v1::Job job = unresolved("No Name");
  EXPECT_TRUE(absl::StrContains(refused(job).error_message(), "job.name"));
  job = unresolved();
  job.mutable_scheduling()->set_queue("none");
  EXPECT_TRUE(absl::StrContains(refused(job).error_message(), "there is no queue \"none\""));
  job = unresolved();
  job.set_note(std::string(300 << 10, 'x'));
  EXPECT_TRUE(absl::StrContains(refused(job).error_message(), "at most 262144 are accepted"));
}

TEST_F(ResolverTest, WhoAsksWhileTheSchedulerEndsIsToldSo) {
  start();
  Daemon a{"a", {}, {}, {}, 0};
  ASSERT_TRUE(join(a).ok());
  std::future<Answer> asked = ask();
  (void)order_of(a);
  stop();
  EXPECT_EQ(asked.get().status.error_code(), grpc::UNAVAILABLE);
}

}  // namespace
}  // namespace galleon::server
