// What people order, what is refused, and what leaves the lists.
#include "absl/strings/match.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

v1::ReprioritizeJobRequest to(const std::string& id, std::optional<int32_t> priority, const std::string& queue = "") {
  v1::ReprioritizeJobRequest request;
  request.set_name("jobs/" + id);
  if (priority) request.set_priority(*priority);
  request.set_queue(queue);
  return request;
}

SchedulerOptions two_queues() {
  SchedulerOptions options;
  options.queues = {{"default", 1, 0, 0, "default"}, {"small", 2, 0, 1, "default"}};
  return options;
}

TEST(Orders, AnotherPriorityOrQueueCountsAtOnceAndOverARestart) {
  World w(two_queues());
  const std::string first = w.submit(job_named("first"));
  const std::string second = w.submit(job_named("second"));
  ASSERT_TRUE(w.scheduler->reprioritize(w.now, to(second, 7), "ann").ok());
  w.tick();
  EXPECT_EQ(w.record(second).queue_position(), 1U);
  EXPECT_EQ(w.record(second).priority(), 7);
  EXPECT_EQ(w.journal.back().actor(), "ann");
  ASSERT_TRUE(w.scheduler->reprioritize(w.now, to(first, {}, "small")).ok());
  w.tick();
  w.restart();
  w.tick();
  EXPECT_EQ(w.record(first).queue(), "small");
  EXPECT_EQ(w.record(first).queue_position(), 1U);
  EXPECT_EQ(w.record(second).priority(), 7);
}

TEST(Orders, AReprioritizeThatCannotBeIsRefusedByField) {
  World w(two_queues());
  const std::string gang = w.submit(job_named("gang", 2));
  EXPECT_TRUE(absl::StartsWith(w.scheduler->reprioritize(w.now, to(gang, {})).message(), "priority: "));
  EXPECT_EQ(w.scheduler->reprioritize(w.now, to(gang, {}, "none")).message(),
            "queue: there is no queue \"none\"; there are \"default\", \"small\"");
  EXPECT_EQ(w.scheduler->reprioritize(w.now, to(gang, {}, "small")).message(),
            "queue: small may use 1 slot at most, jobs/gang-1 needs 2");
  v1::ReprioritizeJobRequest stale = to(gang, 1);
  stale.set_etag("999");
  EXPECT_EQ(w.scheduler->reprioritize(w.now, stale).code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(w.scheduler->cancel(w.now, gang, "", "").ok());
  EXPECT_EQ(w.scheduler->reprioritize(w.now, to(gang, 1)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(w.scheduler->reprioritize(w.now, to("none-1", 1)).code(), absl::StatusCode::kNotFound);
}

TEST(Orders, ACordonedWorkerKeepsWhatItRunsAndGetsNothingNewEvenAfterItRegistersAgain) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  const std::string id = w.submit(job_named("x"));
  w.take_up("a");
  w.train("a", id, 0, 1);
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::CORDONED, "disk", "", "op").ok());
  w.tick();
  EXPECT_EQ(w.state(id), J::RUNNING);
  EXPECT_EQ(w.worker("a").message(), "takes no new work: disk");
  const std::string next = w.submit(job_named("next"));
  EXPECT_EQ(w.state(next), J::QUEUED);
  w.restart();
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  EXPECT_EQ(w.worker("a").state(), v1::Worker::CORDONED);
  EXPECT_EQ(w.state(next), J::QUEUED);
  EXPECT_EQ(w.scheduler->order_worker(w.now, "a", v1::Worker::READY, "", "1").code(), absl::StatusCode::kAborted);
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::READY, "", w.worker("a").etag()).ok());
  w.tick();
  EXPECT_EQ(w.state(next), J::RESERVED);
  EXPECT_EQ(w.scheduler->order_worker(w.now, "b", v1::Worker::READY, "", "").code(), absl::StatusCode::kNotFound);
}

TEST(Orders, ADrainedWorkerHandsBackWhatMayBeAndWaitsForTheRest) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  v1::Job fixed_job = job_named("fixed");
  fixed_job.mutable_scheduling()->set_preemptible(false);
  const std::string fixed = w.submit(fixed_job);
  const std::string loose = w.submit(job_named("loose"));
  w.take_up("a");
  w.train("a", fixed, 0, 1);
  w.train("a", loose, 0, 1);
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::DRAINING, "new kernel", "").ok());
  w.tick();
  EXPECT_EQ(w.state(loose), J::PREEMPTING);
  EXPECT_EQ(w.state(fixed), J::RUNNING);
  EXPECT_EQ(w.worker("a").message(),
            "hands back 1 rank, waits for 1 job that may not be preempted (fixed-1): new kernel");
  w.finish("a", loose, 0, v1::Finished::STOPPED);
  w.forget_unlisted("a");
  EXPECT_EQ(w.state(loose), J::QUEUED);
  EXPECT_EQ(w.record(loose).preemptions(), 0U);
  EXPECT_EQ(w.worker("a").message(), "waits for 1 job that may not be preempted (fixed-1): new kernel");
  w.finish("a", fixed, 0, v1::Finished::SUCCEEDED);
  EXPECT_EQ(w.worker("a").message(), "drained: new kernel");
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::READY, "", "").ok());
  w.tick();
  EXPECT_EQ(w.state(loose), J::RESERVED);
}

TEST(Orders, AJobThatCanNeverFitIsRefusedWithWhatWouldFit) {
  World w(two_queues());
  ASSERT_TRUE(w.join(worker_named("a", 2, 100 << 20)).ok());
  const auto refuse = [&w](const v1::Job& job, uint64_t bytes) {
    const absl::StatusOr<std::string> id = w.scheduler->submit(
        w.now, {job, plan_of(job.parallel().ranks(), bytes), "", "/jobs", w.scheduler->next_number()});
    EXPECT_EQ(id.status().code(), absl::StatusCode::kFailedPrecondition);
    return std::string(id.status().message());
  };
  EXPECT_EQ(
      refuse(job_named("x", 3), 1 << 20),
      "needs 3 slots of 1 MiB, which 1 worker with 2 slots of that kind can never hold: 2 ranks of that size would "
      "fit; submit --allow-pending has it wait for a worker that can");
  EXPECT_EQ(refuse(job_named("x"), 200 << 20),
            "needs 1 slot of 200 MiB, which 1 worker with 2 slots of that kind can never hold: up to 1 rank of at most "
            "100 MiB would; submit --allow-pending has it wait for a worker that can");
  v1::Job gpu = job_named("x");
  gpu.mutable_resources()->set_device(v1::Resources::DEVICE_CUDA);
  EXPECT_TRUE(absl::StrContains(refuse(gpu, 1), "no slot of the fleet is of that device with those labels"));
  v1::Job wide = job_named("x", 2);
  wide.mutable_scheduling()->set_queue("small");
  EXPECT_EQ(refuse(wide, 1),
            "needs 2 slots, but queue small may use 1 at most; give it fewer parallel.ranks, or another queue");
}

TEST(Orders, JobsOfAQueueThatIsNoLongerConfiguredWaitAndCanBeMoved) {
  World w(two_queues());
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_queue("small");
  const std::string id = w.submit(job);
  w.options.queues = {QueueConfig()};
  w.restart();
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_TRUE(absl::StrContains(w.record(id).message(), "queue small is not configured any more"));
  const std::vector<v1::Queue> queues = w.scheduler->describe_queues(w.now);
  ASSERT_EQ(queues.size(), 2U);
  EXPECT_FALSE(queues[1].configured());
  ASSERT_TRUE(w.scheduler->reprioritize(w.now, to(id, {}, "default")).ok());
  w.tick();
  EXPECT_EQ(w.state(id), J::RESERVED);
}

TEST(Orders, QueuesSayWhatTheyUseAndWouldGet) {
  World w(two_queues());
  ASSERT_TRUE(w.join(worker_named("a", 3)).ok());
  (void)w.submit(job_named("one", 2));
  (void)w.submit(job_named("two", 2));
  v1::Job small = job_named("three");
  small.mutable_scheduling()->set_queue("small");
  (void)w.submit(small);
  const std::vector<v1::Queue> queues = w.scheduler->describe_queues(w.now);
  EXPECT_EQ(queues[0].slots_used(), 2U);
  EXPECT_EQ(queues[0].queued(), 1U);
  EXPECT_EQ(queues[0].active(), 1U);
  EXPECT_EQ(queues[0].fair_share_slots(), 2);
  EXPECT_EQ(queues[1].limit_slots(), 1U);
  EXPECT_EQ(queues[1].fair_share_slots(), 1);
}

TEST(Orders, EndedJobsAndGoneWorkersLeaveTheListsAfterAWhileButNotWhatIsStillNeeded) {
  SchedulerOptions options;
  options.ended_retention_ms = 100'000;
  options.gone_retention_ms = 100'000;
  World w(options);
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  ASSERT_TRUE(w.join(worker_named("b", 1)).ok());
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "b", v1::Worker::CORDONED, "", "").ok());
  const std::string base = w.submit(job_named("base"));
  w.take_up("a");
  w.train("a", base, 0, 1);
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::CORDONED, "", "").ok());
  w.finish("a", base, 0, v1::Finished::SUCCEEDED);
  ASSERT_TRUE(w.scheduler->order_worker(w.now, "a", v1::Worker::READY, "", "").ok());
  ASSERT_TRUE(w.sync("a", true).ok());
  const std::string done = w.submit(job_named("done"));
  ASSERT_TRUE(w.scheduler->cancel(w.now, done, "", "").ok());
  // It waits for a slot; what it names is kept for it.
  v1::Job heir = job_named("heir");
  heir.mutable_scheduling()->add_after(base);
  const std::string waiting = w.submit(heir);
  for (int i = 0; i < 80; ++i) w.tick(10'000);
  EXPECT_EQ(w.scheduler->state().job(done), nullptr);
  EXPECT_NE(w.scheduler->state().job(base), nullptr);
  EXPECT_EQ(w.state(waiting), J::QUEUED);
  EXPECT_EQ(w.scheduler->state().worker("a"), nullptr);
  EXPECT_NE(w.scheduler->state().worker("b"), nullptr);
  const std::string live = w.scheduler->state().to_proto().SerializeAsString();
  w.restart();
  EXPECT_EQ(w.scheduler->state().to_proto().SerializeAsString(), live);
}

TEST(Orders, AClockThatJumpsAheadMakesNothingOld) {
  World w;
  const std::string id = w.submit(job_named("x"));
  ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  w.now.wall_ms += 400LL * 24 * 3'600'000;
  w.tick(20'000);
  EXPECT_NE(w.scheduler->state().job(id), nullptr);
}

TEST(Orders, EventsTellEveryChangeOnceAndSayWhenSomeAreNoLongerKept) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  w.take_up("a");
  const auto read = [&w](uint64_t after, const std::string& subject = "") {
    std::vector<v1::Event> events;
    EXPECT_TRUE(w.scheduler->state().events_after(after, subject, 1000, events));
    return events;
  };
  const std::vector<v1::Event> all = read(0);
  std::vector<std::string> kinds;
  for (const v1::Event& event : read(0, "jobs/" + id)) kinds.push_back(event.kind());
  EXPECT_EQ(kinds, (std::vector<std::string>{"created", "reserved", "starting"}));
  EXPECT_EQ(all.size(), 4U);
  EXPECT_EQ(read(all[1].revision()).size(), 2U);
  w.restart();
  EXPECT_EQ(read(0).size(), all.size());
  // From a snapshot alone the same is known.
  Scheduler restored(w.options);
  restored.restore(w.scheduler->state().to_proto());
  std::vector<v1::Event> events;
  EXPECT_TRUE(restored.state().events_after(0, "", 1000, events));
  EXPECT_EQ(events.size(), all.size());
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(w.scheduler->reprioritize(w.now, to(id, i + 1)).ok());
  events.clear();
  EXPECT_FALSE(w.scheduler->state().events_after(all[1].revision(), "jobs/" + id, 1000, events));
}

}  // namespace
}  // namespace galleon::server
