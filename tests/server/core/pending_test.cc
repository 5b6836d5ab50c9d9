#include "server/core/pending.h"

#include <gmock/gmock.h>

#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using testing::ElementsAre;

std::vector<std::string> pending(const World& world) {
  std::vector<std::string> lines;
  for (const PendingSlots& p : world.scheduler->pending_slots())
    lines.push_back(absl::StrCat(p.queue, " ", p.device, " [", p.labels, "] ", p.slots));
  return lines;
}

v1::Job job_on(const std::string& name, uint32_t ranks, v1::Resources::Device device, const std::string& pool) {
  v1::Job job = job_named(name, ranks);
  job.mutable_resources()->set_device(device);
  if (!pool.empty()) (*job.mutable_scheduling()->mutable_labels())["pool"] = pool;
  return job;
}

void submit_pending(World& world, const v1::Job& job) {
  Scheduler::Submission submission{job, plan_of(job.parallel().ranks(), 1 << 20), "", "/jobs",
                                   world.scheduler->next_number()};
  submission.allow_pending = true;
  const absl::StatusOr<std::string> id = world.scheduler->submit(world.now, submission);
  EXPECT_TRUE(id.ok()) << id.status();
  world.tick();
}

TEST(PendingSlots, AreToldByDeviceAndLabelsAlsoWhereNoWorkerIsThere) {
  World world;
  submit_pending(world, job_on("a", 2, v1::Resources::DEVICE_CUDA, "big"));
  submit_pending(world, job_on("b", 1, v1::Resources::DEVICE_CUDA, "big"));
  submit_pending(world, job_on("c", 4, v1::Resources::DEVICE_AUTO, ""));
  EXPECT_THAT(pending(world), ElementsAre("default auto [] 4", "default cuda [pool=big] 3"));
}

TEST(PendingSlots, GoWithTheJobsThatStartOrLeave) {
  World world;
  ASSERT_TRUE(world.join(worker_named("w", 1)).ok());
  world.submit(job_named("a"));
  EXPECT_THAT(pending(world), ElementsAre()) << "it has started";
  const std::string waits = world.submit(job_named("b"));
  EXPECT_THAT(pending(world), ElementsAre("default auto [] 1"));
  ASSERT_TRUE(world.scheduler->cancel(world.now, waits, "", "").ok());
  world.collect();
  world.tick();
  EXPECT_THAT(pending(world), ElementsAre());
}

TEST(PendingSlots, DoNotCountWhatALimitKeepsFromStarting) {
  SchedulerOptions options;
  options.queues[0].limit = 3;
  World world(options);
  ASSERT_TRUE(world.join(worker_named("w", 1)).ok());
  world.submit(job_named("runs"));
  for (int i = 0; i < 4; ++i) world.submit(job_named("b"));
  EXPECT_THAT(pending(world), ElementsAre("default auto [] 2")) << "the queue may use two more";
}

TEST(PendingSlots, DoNotCountAJobThatComesAfterAnother) {
  World world;
  ASSERT_TRUE(world.join(worker_named("w", 1)).ok());
  v1::Job after = job_named("after");
  after.mutable_scheduling()->add_after("any:" + world.submit(job_named("runs")));
  world.submit(after);
  EXPECT_THAT(pending(world), ElementsAre());
}

TEST(PendingSlots, ManyLabelSetsAreOne) {
  World world;
  for (size_t i = 0; i < PendingTally::kMostLabelSets + 5; ++i)
    submit_pending(world, job_on("a", 1, v1::Resources::DEVICE_CPU, absl::StrCat(100 + i)));
  const std::vector<PendingSlots>& all = world.scheduler->pending_slots();
  ASSERT_EQ(all.size(), PendingTally::kMostLabelSets + 1);
  EXPECT_EQ(all[0].labels, "other");
  EXPECT_EQ(all[0].slots, 5U);
}

}  // namespace
}  // namespace galleon::server
