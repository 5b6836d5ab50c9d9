// Jobs that have ended take little memory, and are as they were whenever somebody asks.
#include "server/core/packed_job.h"

#include "server/core/job_table.h"
#include "tests/server/core/world.h"

namespace galleon::server {
namespace {

v1::JobState ended_job(uint64_t number) {
  v1::JobState job;
  job.set_number(number);
  job.set_revision(number * 10);
  v1::JobRecord& record = *job.mutable_record();
  record.set_job_id(absl::StrCat("some-job-", number));
  record.set_name("jobs/" + record.job_id());
  record.set_state(number % 3 == 0 ? v1::JobRecord::FAILED : v1::JobRecord::SUCCEEDED);
  record.set_queue(number % 2 == 0 ? "default" : "lab");
  record.set_owner("ann");
  record.set_project("default");
  record.set_create_time_ms(static_cast<int64_t>(number) * 1'000);
  record.set_end_time_ms(static_cast<int64_t>(number) * 1'000 + 500);
  record.mutable_job()->set_name("some-job");
  record.mutable_job()->mutable_model()->set_source("/models/" + std::string(300, 'a'));
  (*record.mutable_job()->mutable_labels())["team"] = absl::StrCat(number % 5);
  for (uint64_t i = 0; i < 6; ++i) {
    v1::Event& event = *job.add_events();
    event.set_revision(number * 10 - 5 + i);
    event.set_time_ms(static_cast<int64_t>(number) * 1'000);
    event.set_subject(record.name());
    event.set_message("a sentence that says what has happened");
  }
  return job;
}

TEST(PackedJob, IsTheSameWhenItIsUnpackedWithManySamplesBetween) {
  JobPacker packer;
  JobUnpacker unpacker;
  std::vector<std::shared_ptr<const PackedJob>> packed;
  for (uint64_t i = 1; i <= 10'000; ++i) packed.push_back(packer.pack(ended_job(i)));
  for (uint64_t i = 1; i <= 10'000; i += 37) {
    v1::JobState job;
    unpacker.unpack(*packed[i - 1], job);
    ASSERT_EQ(job.SerializeAsString(), ended_job(i).SerializeAsString()) << i;
  }
}

TEST(PackedJob, TellsWhatListsFilterByWithoutBeingUnpacked) {
  JobPacker packer;
  const v1::JobState job = ended_job(7);
  const std::shared_ptr<const PackedJob> packed = packer.pack(job);
  for (const JobFacts& facts : {packed->facts(), facts_of(job)}) {
    EXPECT_EQ(facts.number, 7U);
    EXPECT_EQ(facts.revision, 70U);
    EXPECT_EQ(facts.first_event, 65U);
    EXPECT_EQ(facts.state, v1::JobRecord::SUCCEEDED);
    EXPECT_EQ(facts.job_id, "some-job-7");
    EXPECT_EQ(facts.queue, "lab");
    EXPECT_EQ(facts.owner, "ann");
    EXPECT_EQ(facts.project, "default");
    EXPECT_EQ(facts.create_time_ms, 7'000);
    EXPECT_EQ(facts.end_time_ms, 7'500);
    EXPECT_TRUE(facts.labelled("team", "2"));
    EXPECT_FALSE(facts.labelled("team", "3"));
    EXPECT_FALSE(facts.labelled("nothing", ""));
  }
}

TEST(JobTable, LetsGoOfWhatHasEndedAndOfNothingElse) {
  JobTable table;
  const JobEntry& ended = table.add(std::make_unique<v1::JobState>(ended_job(1)));
  auto living = std::make_unique<v1::JobState>(ended_job(2));
  living->mutable_record()->set_state(v1::JobRecord::RUNNING);
  const v1::JobState* stays = living.get();
  const JobEntry& lives = table.add(std::move(living));
  table.change(ended).mutable_record()->set_message("the end");
  table.change(lives).mutable_record()->set_message("it goes on");
  table.pack();
  EXPECT_EQ(table.loose(), 0U);
  EXPECT_EQ(&table.whole(lives), stays);
  EXPECT_EQ(table.whole(ended).record().message(), "the end");
  EXPECT_EQ(table.loose(), 1U);
  // What is changed after it was packed is packed anew.
  table.change(ended).mutable_record()->set_message("another end");
  table.pack();
  v1::JobState stored;
  ASSERT_TRUE(stored.ParseFromString(std::string(table.body(ended))));
  EXPECT_EQ(stored.record().message(), "another end");
}

TEST(JobTable, AJobThatEndedAndGoesOnIsWholeFromThenOn) {
  World w;
  ASSERT_TRUE(w.join(worker_named("a", 1)).ok());
  const std::string id = w.submit(job_named("x"));
  w.take_up("a");
  w.finish("a", id, 0, v1::Finished::FAILED, "a bad row", true);
  w.forget_unlisted("a");
  ASSERT_EQ(w.state(id), v1::JobRecord::FAILED);
  w.scheduler->round_over();
  v1::ResumeJobRequest again;
  again.set_name(id);
  ASSERT_TRUE(w.scheduler->resume(w.now, again).ok());
  w.tick();
  ASSERT_EQ(w.state(id), v1::JobRecord::RESERVED);
  w.take_up("a");
  w.train("a", id, 0, 5);
  EXPECT_EQ(w.state(id), v1::JobRecord::RUNNING);
  EXPECT_EQ(w.record(id).attempts(), 2U);
}

TEST(JobTable, EventsOfManyEndedJobsComeInOrderAndOnce) {
  World w;
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(w.submit(job_named("x")));
  for (const std::string& id : ids) ASSERT_TRUE(w.scheduler->cancel(w.now, id, "", "").ok());
  w.tick();
  Scheduler restored(w.options);
  restored.restore(w.scheduler->state().to_proto());
  uint64_t revision = 0;
  size_t count = 0;
  while (true) {
    std::vector<v1::Event> events;
    ASSERT_TRUE(restored.state().events_after(revision, "", 7, events));
    if (events.empty()) break;
    for (const v1::Event& event : events) {
      EXPECT_GT(event.revision(), revision);
      revision = event.revision();
      ++count;
    }
  }
  EXPECT_EQ(count, 100U);
}

}  // namespace
}  // namespace galleon::server
