// Whoever stands by reads the journal as it is written, so that a takeover has little left to read. What it has read is
// what a start reads.
#ifdef GALLEON_POSTGRES
#include "absl/strings/escaping.h"
#include "server/store/sqlite_schema.h"
#include "server/store/transfer.h"
#include "tests/server/store/journal_contents.h"
#include "tests/server/store/postgres_store_fixture.h"

namespace galleon::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// What was handed over, in words: "again", "head 3", "job 2", "event 4", "saved".
class Told {
 public:
  Journal::Recovery recovery() {
    return {
        [this](const v1::StateSnapshot& head) { add(absl::StrCat("head ", head.last_job_number())); },
        [this](absl::string_view body) {
          v1::JobState job;
          const bool whole = job.ParseFromString(std::string(body));
          add(absl::StrCat("job ", job.number()));
          return whole;
        },
        [this](const v1::JournalEvent& event) { add(absl::StrCat("event ", event.job_created().number())); },
        [this] { add("again"); },
        [this] { add("saved"); },
    };
  }
  std::vector<std::string> take() { return std::exchange(told_, {}); }

 private:
  void add(std::string what) { told_.push_back(std::move(what)); }
  std::vector<std::string> told_;
};

class FollowedStoreTest : public PostgresStoreTest {
 protected:
  void SetUp() override {
    PostgresStoreTest::SetUp();
    if (IsSkipped()) return;
    journal_ = take();
    ASSERT_NE(journal_, nullptr);
    absl::StatusOr<std::unique_ptr<SharedStore>> other = open_shared_store(options_);
    ASSERT_TRUE(other.ok()) << other.status();
    other_ = *std::move(other);
  }
  void TearDown() override {
    journal_.reset();
    other_.reset();
    PostgresStoreTest::TearDown();
  }

  void append(std::vector<uint64_t> numbers) {
    std::vector<v1::JournalEvent> events;
    for (const uint64_t number : numbers) events.push_back(event(number));
    ASSERT_TRUE(journal_->append(events).ok());
  }
  // Of a snapshot whose head says so many, with one job.
  void compact(uint64_t number) {
    SnapshotChange change;
    change.head.set_last_job_number(number);
    change.jobs = {number};
    std::string body;
    change.body = [&](uint64_t job) -> absl::string_view { return body = job_state(job, 1).SerializeAsString(); };
    ASSERT_TRUE(journal_->compact(change).ok());
  }
  std::vector<std::string> follow() {
    const absl::Status status = other_->follow(told_.recovery());
    EXPECT_TRUE(status.ok()) << status;
    return told_.take();
  }
  // By the one that followed.
  std::unique_ptr<Journal> take_followed() {
    absl::StatusOr<std::unique_ptr<Journal>> taken = absl::UnknownError("not yet");
    journal_.reset();
    EXPECT_TRUE(eventually([&] {
      const absl::StatusOr<SharedStore::Standing> seen = other_->look();
      if (seen.ok() && seen->free) taken = other_->take(*seen);
      return taken.ok();
    })) << taken.status();
    return taken.ok() ? *std::move(taken) : nullptr;
  }
  std::vector<std::string> loaded(Journal& journal) {
    const absl::Status status = journal.load(told_.recovery());
    EXPECT_TRUE(status.ok()) << status;
    return told_.take();
  }

  std::unique_ptr<Journal> journal_;
  std::unique_ptr<SharedStore> other_;
  Told told_;
};

TEST_F(FollowedStoreTest, WhatIsNewIsReadOnceAndATakeoverReadsTheRest) {
  EXPECT_THAT(follow(), ElementsAre("again"));
  EXPECT_THAT(follow(), IsEmpty());
  append({1, 2});
  EXPECT_THAT(follow(), ElementsAre("event 1", "event 2"));
  append({3});
  EXPECT_THAT(follow(), ElementsAre("event 3"));
  EXPECT_THAT(follow(), IsEmpty());
  append({4});
  const std::unique_ptr<Journal> taken = take_followed();
  ASSERT_NE(taken, nullptr);
  EXPECT_THAT(loaded(*taken), ElementsAre("event 4"));
  ASSERT_TRUE(taken->append({event(5)}).ok());
  EXPECT_EQ(contents(*taken).numbers, (std::vector<uint64_t>{1, 2, 3, 4, 5})) << "everything, for whoever asks again";
}

TEST_F(FollowedStoreTest, ASnapshotInBetweenIsPassedWhereItStands) {
  append({1, 2});
  compact(2);
  EXPECT_THAT(follow(), ElementsAre("again", "head 2", "job 2"));
  append({3, 4});
  compact(4);
  append({5});
  EXPECT_THAT(follow(), ElementsAre("event 3", "event 4", "saved", "event 5"));
  append({6});
  EXPECT_THAT(follow(), ElementsAre("event 6"));
  compact(6);
  EXPECT_THAT(follow(), ElementsAre("saved"));
  EXPECT_THAT(follow(), IsEmpty());
  append({7});
  const std::unique_ptr<Journal> taken = take_followed();
  ASSERT_NE(taken, nullptr);
  EXPECT_THAT(loaded(*taken), ElementsAre("event 7"));
  EXPECT_THAT(loaded(*taken), ElementsAre("again", "head 6", "job 2", "job 4", "job 6", "event 7"));
  EXPECT_EQ(taken->events_since_snapshot(), 1);
}

TEST_F(FollowedStoreTest, WhoIsTooFarBehindBeginsAgain) {
  append({1, 2});
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2"));
  append({3});
  compact(3);
  append({4});
  compact(4);
  EXPECT_THAT(follow(), ElementsAre("again", "head 4", "job 3", "job 4"));
  append({5, 6});
  EXPECT_THAT(follow(), ElementsAre("event 5", "event 6"));
}

// As many rows as no single answer has.
TEST_F(FollowedStoreTest, ManyAtOnceComeInOrder) {
  EXPECT_THAT(follow(), ElementsAre("again"));
  std::vector<std::string> expected;
  for (uint64_t number = 1; number <= 9'000; ++number) expected.push_back(absl::StrCat("event ", number));
  std::vector<uint64_t> numbers(9'000);
  for (uint64_t i = 0; i < numbers.size(); ++i) numbers[i] = i + 1;
  append(numbers);
  EXPECT_EQ(follow(), expected);
}

// A database that was put back, with other things in it since; also where the numbers are the same.
TEST_F(FollowedStoreTest, AnotherHistoryIsReadFromItsBeginning) {
  append({1, 2});
  ASSERT_TRUE(journal_->backup(folder_ + "/backup").ok());
  append({3, 4});
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2", "event 3", "event 4"));
  journal_.reset();
  const absl::StatusOr<Transferred> restored = import_journal(options_, folder_ + "/backup", true);
  ASSERT_TRUE(restored.ok()) << restored.status();
  journal_ = take();
  ASSERT_NE(journal_, nullptr);
  append({13});
  // 1, 2, that it was put back, 13: as many as before.
  EXPECT_EQ(sql("SELECT max(sequence) FROM galleon.event"), "4\n");
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2", "event 0", "event 13"));
  append({14});
  EXPECT_THAT(follow(), ElementsAre("event 14"));
}

TEST_F(FollowedStoreTest, OneThatWasPutBackBeforeATakeoverIsReadFromItsBeginning) {
  append({1, 2});
  compact(2);
  ASSERT_TRUE(journal_->backup(folder_ + "/backup").ok());
  append({3});
  EXPECT_THAT(follow(), ElementsAre("again", "head 2", "job 2", "event 3"));
  journal_.reset();
  ASSERT_TRUE(import_journal(options_, folder_ + "/backup", true).ok());
  const std::unique_ptr<Journal> taken = take_followed();
  ASSERT_NE(taken, nullptr);
  EXPECT_THAT(loaded(*taken), ElementsAre("again", "head 2", "job 2", "event 0"));
}

// A version before this one drops all events that the snapshot stands for.
TEST_F(FollowedStoreTest, WhatAnOlderVersionCompactsIsReadFromItsBeginning) {
  append({1, 2});
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2"));
  append({3});
  compact(3);
  sql("DELETE FROM galleon.event WHERE sequence <= 3");
  EXPECT_THAT(follow(), ElementsAre("again", "head 3", "job 3"));
  EXPECT_THAT(follow(), IsEmpty()) << "its snapshot is still the same";
  append({4});
  EXPECT_THAT(follow(), ElementsAre("event 4"));
}

TEST_F(FollowedStoreTest, AConnectionThatBreaksCostsNothing) {
  append({1, 2});
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2"));
  cluster_->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database_ + "'",
                "postgres");
  append({3});
  const absl::Status cut = other_->follow(told_.recovery());
  EXPECT_EQ(cut.code(), absl::StatusCode::kUnavailable) << cut;
  EXPECT_THAT(follow(), ElementsAre("event 3"));
}

TEST_F(FollowedStoreTest, DamageAndWhatANewerVersionWroteIsSaid) {
  append({1, 2});
  EXPECT_THAT(follow(), ElementsAre("again", "event 1", "event 2"));
  append({3});
  sql("UPDATE galleon.event SET body = body || '\\x00' WHERE sequence = 3");
  EXPECT_EQ(other_->follow(told_.recovery()).code(), absl::StatusCode::kDataLoss);
  sql("DELETE FROM galleon.event WHERE sequence = 3");
  EXPECT_THAT(follow(), IsEmpty());
  v1::JournalEvent unknown;
  unknown.set_time_ms(1);
  sql(absl::StrCat("INSERT INTO galleon.event VALUES (3, 1, '\\x", absl::BytesToHexString(unknown.SerializeAsString()),
                   "', ", checksum(3, unknown.SerializeAsString()), ")"));
  const absl::Status status = other_->follow(told_.recovery());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("event 3 of the journal is of a kind"));
  EXPECT_EQ(journal_->load(told_.recovery()).code(), absl::StatusCode::kFailedPrecondition) << "nor can it be loaded";
}

}  // namespace
}  // namespace galleon::server
#endif
