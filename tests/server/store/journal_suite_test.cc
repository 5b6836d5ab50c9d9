// What every store has to do. A new one is added to the list at the end.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include "absl/strings/match.h"
#include "common/base/ids.h"
#include "server/store/shared_store.h"
#include "server/store/sqlite_journal.h"
#include "tests/server/store/journal_contents.h"
#include "tests/server/store/postgres_cluster.h"

namespace galleon::server {
namespace {

struct Store {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Journal>>(const std::string& folder)> open;
  // Opens what backup() wrote to `path`, in an empty folder of its own.
  std::function<absl::StatusOr<std::unique_ptr<Journal>>(const std::string& path, const std::string& folder)>
      open_backup;
  // What the test itself makes, and not a process that it starts.
  std::function<void(const std::string& folder)> prepare = [](const std::string&) {};
};

class JournalSuite : public testing::TestWithParam<Store> {
 protected:
  void SetUp() override {
    if (GetParam().name == "Postgres" && PostgresCluster::programs().empty())
      GTEST_SKIP() << "PostgreSQL's initdb and postgres are not here";
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-journal-", random_hex(8))).string();
    std::filesystem::create_directories(folder_ + "/data");
    GetParam().prepare(data());
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }
  std::string data() const { return folder_ + "/data"; }
  std::unique_ptr<Journal> open() {
    absl::StatusOr<std::unique_ptr<Journal>> journal = GetParam().open(data());
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  std::string folder_;
};

TEST_P(JournalSuite, EventsComeBackInOrderAfterReopening) {
  {
    auto journal = open();
    ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
    ASSERT_TRUE(journal->append({event(3)}).ok());
    ASSERT_TRUE(journal->append({}).ok());
  }
  auto journal = open();
  const Contents found = contents(*journal);
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_FALSE(found.head.has_value());
  EXPECT_EQ(found.numbers, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(journal->events_since_snapshot(), 3);
}

TEST_P(JournalSuite, ASnapshotStandsForTheEventsBeforeItAndLaterOnesChangeOnlyWhatTheyName) {
  const v1::JobState one = job_state(1, 10), two = job_state(2, 11), three = job_state(3, 12);
  const v1::JobState two_later = job_state(2, 20);
  {
    auto journal = open();
    ASSERT_TRUE(journal->append({event(1), event(2), event(3)}).ok());
    SnapshotChange all;
    all.head.set_last_epoch(77);
    all.jobs = {1, 2, 3};
    std::string body;
    all.body = [&](uint64_t number) -> absl::string_view {
      return body = (number == 1 ? one : number == 2 ? two : three).SerializeAsString();
    };
    ASSERT_TRUE(journal->compact(all).ok());
    EXPECT_EQ(journal->events_since_snapshot(), 0);
    ASSERT_TRUE(journal->append({event(4)}).ok());
    SnapshotChange some;
    some.head.set_last_epoch(78);
    some.jobs = {2};
    some.body = [&](uint64_t) -> absl::string_view { return body = two_later.SerializeAsString(); };
    some.removed = {1};
    ASSERT_TRUE(journal->compact(some).ok());
    ASSERT_TRUE(journal->append({event(5)}).ok());
  }
  auto journal = open();
  const Contents found = contents(*journal);
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_EQ(found.head->last_epoch(), 78U);
  ASSERT_EQ(found.jobs.size(), 2U);
  EXPECT_EQ(found.jobs[0].number(), 2U);
  EXPECT_EQ(found.jobs[0].revision(), 20U);
  EXPECT_EQ(found.jobs[1].revision(), 12U);
  EXPECT_EQ(found.numbers, (std::vector<uint64_t>{5}));
  EXPECT_EQ(journal->events_since_snapshot(), 1);
}

TEST_P(JournalSuite, EveryAcknowledgedEventSurvivesKillNineWithWholeBatchesAndSnapshots) {
  for (int round = 0; round < 3; ++round) {
    int acknowledged[2];
    ASSERT_EQ(pipe(acknowledged), 0);
    const pid_t writer = fork();
    if (writer == 0) {
      absl::StatusOr<std::unique_ptr<Journal>> journal = GetParam().open(data());
      if (!journal.ok()) _exit(1);
      uint64_t next = 1;
      const absl::Status loaded = (*journal)->load({
          [&](const v1::StateSnapshot& head) { next = head.last_job_number() + 1; },
          [](absl::string_view) { return true; },
          [&](const v1::JournalEvent&) { ++next; },
      });
      if (!loaded.ok()) _exit(1);
      while (true) {
        if (!(*journal)->append({event(next), event(next + 1)}).ok()) _exit(1);
        next += 2;
        const uint64_t last = next - 1;
        if (write(acknowledged[1], &last, sizeof(last)) != sizeof(last)) _exit(1);
        if (next % 20 == 1) {
          SnapshotChange change;
          change.head.set_last_job_number(last);
          if (!(*journal)->compact(change).ok()) _exit(1);
        }
      }
    }
    close(acknowledged[1]);
    uint64_t last = 0;
    for (int i = 0; i < 50 + 30 * round; ++i)
      ASSERT_EQ(read(acknowledged[0], &last, sizeof(last)), static_cast<ssize_t>(sizeof(last)));
    kill(writer, SIGKILL);
    int status = 0;
    waitpid(writer, &status, 0);
    while (read(acknowledged[0], &last, sizeof(last)) == static_cast<ssize_t>(sizeof(last))) {
    }
    close(acknowledged[0]);
    auto journal = open();
    const Contents found = contents(*journal);
    ASSERT_TRUE(found.status.ok()) << found.status;
    const uint64_t before = found.head ? found.head->last_job_number() : 0;
    ASSERT_GE(before + found.numbers.size(), last);
    EXPECT_EQ(found.numbers.size() % 2, 0U);
    for (uint64_t i = 0; i < found.numbers.size(); ++i) ASSERT_EQ(found.numbers[i], before + i + 1);
  }
}

TEST_P(JournalSuite, ASecondSchedulerIsRefusedAndToldOfTheFirst) {
  auto journal = open();
  const absl::Status second = GetParam().open(data()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::StrContains(second.message(), absl::StrCat("process ", getpid()))) << second;
  journal.reset();
  EXPECT_TRUE(GetParam().open(data()).ok());
}

TEST_P(JournalSuite, ABackupMadeWhileOthersAppendHoldsOneMoment) {
  auto journal = open();
  ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
  std::atomic<bool> done{false};
  absl::Status made;
  std::thread copying([&] {
    made = journal->backup(folder_ + "/copy");
    done = true;
  });
  uint64_t next = 3;
  while (!done || next < 101) {
    ASSERT_TRUE(journal->append({event(next), event(next + 1)}).ok());
    next += 2;
  }
  copying.join();
  ASSERT_TRUE(made.ok()) << made;
  auto copy = GetParam().open_backup(folder_ + "/copy", folder_ + "/other");
  ASSERT_TRUE(copy.ok()) << copy.status();
  const Contents found = contents(**copy);
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_GE(found.numbers.size(), 2U);
  EXPECT_EQ(found.numbers.size() % 2, 0U);
  for (uint64_t i = 0; i < found.numbers.size(); ++i) EXPECT_EQ(found.numbers[i], i + 1);
}

absl::StatusOr<std::unique_ptr<Journal>> open_sqlite(const std::string& folder) {
  return SqliteJournal::open(folder);
}

// Each folder has a database of its own.
std::string database_of(const std::string& folder) {
  static const std::unique_ptr<PostgresCluster> cluster = PostgresCluster::start();
  static std::map<std::string, std::string> databases;
  if (cluster == nullptr) return "";
  if (databases[folder].empty()) databases[folder] = cluster->make_database();
  return cluster->url(databases[folder]);
}

void prepare_postgres(const std::string& folder) {
  ASSERT_NE(database_of(folder), "");
}

// A database whose writer was killed is free when its lease ends.
absl::StatusOr<std::unique_ptr<Journal>> open_postgres(const std::string& folder) {
  static const SystemClock clock;
  SharedStoreOptions options;
  options.url = database_of(folder);
  options.data = folder;
  options.advertise = "here:7070";
  options.clock = &clock;
  options.lease = absl::Milliseconds(1500);
  absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options);
  if (!store.ok()) return store.status();
  const absl::Duration until = clock.monotonic() + 2 * options.lease;
  while (true) {
    const absl::StatusOr<SharedStore::Standing> seen = (*store)->look();
    if (!seen.ok()) return seen.status();
    absl::StatusOr<std::unique_ptr<Journal>> journal = (*store)->take(*seen);
    if (journal.ok() || clock.monotonic() > until) return journal;
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::StatusOr<std::unique_ptr<Journal>> open_copy(const std::string& path, const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(path, folder + "/scheduler.db");
  return SqliteJournal::open(folder);
}

INSTANTIATE_TEST_SUITE_P(Sqlite, JournalSuite, testing::Values(Store{"Sqlite", open_sqlite, open_copy}),
                         [](const auto& store) { return store.param.name; });
#ifdef GALLEON_POSTGRES
INSTANTIATE_TEST_SUITE_P(Postgres, JournalSuite,
                         testing::Values(Store{"Postgres", open_postgres, open_copy, prepare_postgres}),
                         [](const auto& store) { return store.param.name; });
#endif

}  // namespace
}  // namespace galleon::server
