// Other queues while jobs wait and run, and whose roles cover a job.
#include "absl/strings/match.h"
#include "server/core/state.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

SchedulerOptions with_lab() {
  SchedulerOptions options;
  options.queues = {{"default", 1, 0, 0, "default"}, {"lab", 1, 0, 0, "science"}};
  return options;
}

v1::Job for_queue(const std::string& name, const std::string& queue) {
  v1::Job job = job_named(name);
  job.mutable_scheduling()->set_queue(queue);
  return job;
}

void reconfigure(World& w, std::vector<QueueConfig> queues) {
  w.options.queues = queues;
  w.scheduler->reconfigure(w.now, std::move(queues));
  w.tick();
}

TEST(Reconfigure, JobsOfAQueueThatIsTakenOutStayInTheirProjectAndSaySo) {
  World w(with_lab());
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string runs = w.submit(for_queue("runs", "lab"));
  w.take_up("a");
  w.train("a", runs, 0, 1);
  const std::string waits = w.submit(for_queue("waits", "lab"));
  reconfigure(w, {{"default", 1, 0, 0, "default"}});
  for (int life = 0; life < 2; ++life) {
    EXPECT_EQ(w.state(runs), J::RUNNING);
    EXPECT_EQ(w.state(waits), J::QUEUED);
    EXPECT_EQ(w.record(runs).project(), "science");
    EXPECT_EQ(w.record(waits).project(), "science");
    EXPECT_TRUE(absl::StrContains(w.record(waits).message(),
                                  "its queue lab is not configured any more, and it stays in project science"))
        << w.record(waits).message();
    w.restart();
    w.tick();
  }
}

TEST(Reconfigure, AQueueThatIsGoneStartsNothingAndWhatCameBackGoesOn) {
  World w(with_lab());
  const std::string id = w.submit(for_queue("x", "lab"));
  reconfigure(w, {{"default", 1, 0, 0, "default"}});
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  EXPECT_EQ(w.state(id), J::QUEUED);
  EXPECT_EQ(w.scheduler->check_scheduling(for_queue("y", "lab")).message(),
            "scheduling.queue: there is no queue \"lab\"; there is \"default\"");
  reconfigure(w, with_lab().queues);
  EXPECT_EQ(w.state(id), J::RESERVED);
}

TEST(Reconfigure, LimitsCountFromTheNextPassOn) {
  World w(with_lab());
  ASSERT_TRUE(w.join(worker_named("a", 2)).ok());
  const std::string first = w.submit(for_queue("x", "lab"));
  reconfigure(w, {{"default", 1, 0, 0, "default"}, {"lab", 1, 0, 1, "science"}});
  const std::string second = w.submit(for_queue("x", "lab"));
  EXPECT_EQ(w.state(first), J::RESERVED);
  EXPECT_EQ(w.state(second), J::QUEUED);
  EXPECT_TRUE(absl::StrContains(w.record(second).message(), "queue lab uses 1 of the 1 slot"))
      << w.record(second).message();
  reconfigure(w, with_lab().queues);
  EXPECT_EQ(w.state(second), J::RESERVED);
}

TEST(Reconfigure, AQueueThatIsGivenToAnotherProjectTakesNoJobsWithIt) {
  World w(with_lab());
  const std::string before = w.submit(for_queue("x", "lab"));
  reconfigure(w, {{"default", 1, 0, 0, "default"}, {"lab", 1, 0, 0, "arts"}});
  const std::string after = w.submit(for_queue("x", "lab"));
  EXPECT_EQ(w.record(before).project(), "science");
  EXPECT_EQ(w.record(after).project(), "arts");
  v1::ReprioritizeJobRequest request;
  request.set_name(before);
  request.set_priority(3);
  ASSERT_TRUE(w.scheduler->reprioritize(w.now, request).ok());
  EXPECT_EQ(w.record(before).project(), "science");
  request.set_queue("default");
  ASSERT_TRUE(w.scheduler->reprioritize(w.now, request).ok());
  EXPECT_EQ(w.record(before).project(), "default");
}

TEST(Reconfigure, SlotsThatWereHeldForAJobOfAQueueThatIsGoneAreGivenUp) {
  World w(with_lab());
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string low = w.submit(for_queue("low", "lab"));
  w.take_up("a");
  w.train("a", low, 0, 1);
  v1::Job urgent = for_queue("urgent", "lab");
  urgent.mutable_scheduling()->set_priority(9);
  const std::string high = w.submit(urgent);
  ASSERT_FALSE(w.scheduler->state().holding().empty());
  reconfigure(w, {{"default", 1, 0, 0, "default"}});
  EXPECT_TRUE(w.scheduler->state().holding().empty());
  EXPECT_EQ(w.state(high), J::QUEUED);
}

// As an earlier version wrote it, without projects.
TEST(Reconfigure, JobsFromBeforeProjectsWereWrittenDownGetThatOfTheirQueueOnce) {
  World w(with_lab());
  const std::string lab = w.submit(for_queue("x", "lab"));
  const std::string gone = w.submit(for_queue("y", "lab"));
  for (v1::JournalEvent& event : w.journal) {
    if (!event.has_job_created()) continue;
    event.mutable_job_created()->clear_project();
    if (event.job_created().job_id() == gone)
      event.mutable_job_created()->mutable_job()->mutable_scheduling()->set_queue("gone");
  }
  w.scheduler = nullptr;
  w.restart();
  EXPECT_EQ(w.record(lab).project(), "");
  w.tick();
  EXPECT_EQ(w.record(lab).project(), "science");
  EXPECT_EQ(w.record(gone).project(), "");
  EXPECT_TRUE(w.journal.back().has_projects_recorded());
  const size_t events = w.journal.size();
  // Another project of the queue is not theirs.
  w.options.queues[1].project = "arts";
  w.restart();
  w.tick();
  EXPECT_EQ(w.record(lab).project(), "science");
  EXPECT_EQ(w.journal.size(), events);
}

}  // namespace
}  // namespace galleon::server
