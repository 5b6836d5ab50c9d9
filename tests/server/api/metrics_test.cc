// Series that come and go with what they are of.
#include "server/api/metrics.h"

#include <gmock/gmock.h>

#include "prometheus/collectable.h"
#include "prometheus/text_serializer.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string text(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.collectable()->Collect());
}

SchedulerOptions with_queues(const std::vector<std::string>& names) {
  SchedulerOptions options;
  options.queues.clear();
  for (const std::string& name : names) options.queues.emplace_back().id = name;
  return options;
}

v1::Job job_in(const std::string& queue) {
  v1::Job job = job_named("x");
  job.mutable_scheduling()->set_queue(queue);
  return job;
}

TEST(MetricsOfQueues, GoWithAQueueThatIsTakenOut) {
  World world(with_queues({"default", "old"}));
  Metrics metrics;
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), HasSubstr("galleon_jobs{queue=\"old\",state=\"queued\"} 0"));
  EXPECT_THAT(text(metrics), HasSubstr("galleon_slots_pending{device=\"auto\",labels=\"\",queue=\"old\"} 0"));
  world.scheduler->reconfigure(world.now, with_queues({"default"}).queues, {});
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), Not(HasSubstr("\"old\"")));
  EXPECT_THAT(text(metrics), HasSubstr("galleon_jobs{queue=\"default\",state=\"queued\"} 0"));
}

TEST(MetricsOfQueues, StayAsLongAsTheQueueHasJobs) {
  World world(with_queues({"default", "old"}));
  Metrics metrics;
  ASSERT_TRUE(world.join(worker_named("w", 1)).ok());
  world.submit(job_in("default"));
  world.submit(job_in("old"));
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), HasSubstr("galleon_slots_pending{device=\"auto\",labels=\"\",queue=\"old\"} 1"));
  world.scheduler->reconfigure(world.now, with_queues({"default"}).queues, {});
  world.collect();
  world.tick();
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), HasSubstr("galleon_jobs{queue=\"old\",state=\"queued\"} 1"));
  EXPECT_THAT(text(metrics), Not(HasSubstr("galleon_slots_pending{device=\"auto\",labels=\"\",queue=\"old\"}")))
      << "nothing of it starts, whatever workers there are";
}

TEST(MetricsOfSlots, ThoseThatWereWaitedForGoWithTheirLabels) {
  World world;
  Metrics metrics;
  ASSERT_TRUE(world.join(worker_named("w", 1)).ok());
  world.submit(job_named("runs"));
  v1::Job job = job_named("waits", 1);
  job.mutable_resources()->set_device(v1::Resources::DEVICE_CPU);
  const std::string id = world.submit(job);
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), HasSubstr("galleon_slots_pending{device=\"cpu\",labels=\"\",queue=\"default\"} 1"));
  ASSERT_TRUE(world.scheduler->cancel(world.now, id, "", "").ok());
  world.collect();
  world.tick();
  metrics.gauges(*world.scheduler);
  EXPECT_THAT(text(metrics), Not(HasSubstr("device=\"cpu\"")));
}

}  // namespace
}  // namespace galleon::server
