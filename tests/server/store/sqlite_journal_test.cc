#include "server/store/sqlite_journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/ids.h"
#include "server/core/state.h"

namespace galleon::server {
namespace {

class SqliteJournalTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-journal-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static v1::JournalEvent event(uint64_t number) {
    v1::JournalEvent made;
    made.set_time_ms(static_cast<int64_t>(1000 + number));
    made.mutable_job_created()->set_number(number);
    made.mutable_job_created()->set_job_id(absl::StrCat("job-", number));
    made.mutable_job_created()->mutable_job()->set_name("job");
    return made;
  }

  std::unique_ptr<SqliteJournal> open() {
    absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(folder_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }

  struct Loaded {
    std::optional<v1::StateSnapshot> snapshot;
    std::vector<uint64_t> numbers;
    absl::Status status;
  };
  static Loaded load(SqliteJournal& journal) {
    Loaded loaded;
    loaded.status =
        journal.load([&](const v1::StateSnapshot& snapshot) { loaded.snapshot = snapshot; },
                     [&](const v1::JournalEvent& e) { loaded.numbers.push_back(e.job_created().number()); });
    return loaded;
  }

  // Runs SQL on the file behind the journal's back.
  void alter(const std::string& sql) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
    sqlite3_close(database);
  }
  std::string path() const { return folder_ + "/scheduler.db"; }
  // Names and hashes of all files that hold something but the lock and SQLite's shared memory.
  std::map<std::string, size_t> files() const {
    std::map<std::string, size_t> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      const std::string content = *read_file(entry.path().string());
      if (name != "lock" && !absl::EndsWith(name, "-shm") && !content.empty())
        all[name] = std::hash<std::string>()(content);
    }
    return all;
  }

  std::string folder_;
};

TEST_F(SqliteJournalTest, EventsComeBackInOrderAfterReopening) {
  {
    auto journal = open();
    ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
    ASSERT_TRUE(journal->append({event(3)}).ok());
    ASSERT_TRUE(journal->append({}).ok());
  }
  auto journal = open();
  const Loaded loaded = load(*journal);
  ASSERT_TRUE(loaded.status.ok()) << loaded.status;
  EXPECT_FALSE(loaded.snapshot.has_value());
  EXPECT_EQ(loaded.numbers, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(journal->events_since_snapshot(), 3);
}

TEST_F(SqliteJournalTest, ASnapshotReplacesTheEventsBeforeItAndOthersFollow) {
  {
    auto journal = open();
    ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
    v1::StateSnapshot snapshot;
    snapshot.set_last_epoch(77);
    ASSERT_TRUE(journal->compact(snapshot).ok());
    EXPECT_EQ(journal->events_since_snapshot(), 0);
    ASSERT_TRUE(journal->append({event(3)}).ok());
  }
  auto journal = open();
  const Loaded loaded = load(*journal);
  ASSERT_TRUE(loaded.status.ok()) << loaded.status;
  EXPECT_EQ(loaded.snapshot->last_epoch(), 77U);
  EXPECT_EQ(loaded.numbers, (std::vector<uint64_t>{3}));
  EXPECT_EQ(journal->events_since_snapshot(), 1);
}

TEST_F(SqliteJournalTest, EveryAcknowledgedEventSurvivesKillNine) {
  for (int round = 0; round < 3; ++round) {
    int acknowledged[2];
    ASSERT_EQ(pipe(acknowledged), 0);
    const pid_t writer = fork();
    if (writer == 0) {
      absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(folder_);
      if (!journal.ok()) _exit(1);
      uint64_t next = 1;
      if (!(*journal)->load([](const v1::StateSnapshot&) {}, [&](const v1::JournalEvent&) { ++next; }).ok()) _exit(1);
      while (true) {
        if (!(*journal)->append({event(next), event(next + 1)}).ok()) _exit(1);
        next += 2;
        const uint64_t last = next - 1;
        if (write(acknowledged[1], &last, sizeof(last)) != sizeof(last)) _exit(1);
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
    const Loaded loaded = load(*journal);
    ASSERT_TRUE(loaded.status.ok()) << loaded.status;
    ASSERT_GE(loaded.numbers.size(), last);
    // Whole batches only.
    EXPECT_EQ(loaded.numbers.size() % 2, 0U);
    for (uint64_t i = 0; i < loaded.numbers.size(); ++i) ASSERT_EQ(loaded.numbers[i], i + 1);
  }
}

TEST_F(SqliteJournalTest, ASecondSchedulerOnTheFolderIsRefusedByTheFirstOnesPid) {
  auto journal = open();
  const absl::Status second = SqliteJournal::open(folder_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(absl::StrContains(second.message(), absl::StrCat("process ", getpid()))) << second;
  journal.reset();
  EXPECT_TRUE(SqliteJournal::open(folder_).ok());
}

TEST_F(SqliteJournalTest, ANewerDatabaseIsRefusedAndLeftAsItIs) {
  ASSERT_TRUE(open()->append({event(1)}).ok());
  alter("PRAGMA user_version = 2");
  const auto before = files();
  const absl::Status refused = SqliteJournal::open(folder_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(refused.message(), "newer Galleon")) << refused;
  EXPECT_EQ(files(), before);
}

TEST_F(SqliteJournalTest, AnotherProgramsDatabaseIsRefused) {
  alter("CREATE TABLE mine (x)");
  const auto before = files();
  EXPECT_EQ(SqliteJournal::open(folder_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(files(), before);
}

TEST_F(SqliteJournalTest, ADamagedFileIsRefusedWithAWayOutAndLeftAsItIs) {
  {
    auto journal = open();
    std::vector<v1::JournalEvent> many;
    for (uint64_t i = 1; i <= 2000; ++i) many.push_back(event(i));
    ASSERT_TRUE(journal->append(many).ok());
  }
  const std::string whole = *read_file(path());
  // A page of structure overwritten; the file cut; something else altogether.
  std::string overwritten = whole;
  overwritten.replace(whole.size() / 2 / 4096 * 4096, 4096, std::string(4096, '\xff'));
  for (const std::string& damaged : {overwritten, whole.substr(0, whole.size() / 2),
                                     std::string("not a database at all, ") + std::string(5000, 'x')}) {
    ASSERT_TRUE(write_file_atomically(path(), damaged).ok());
    const auto before = files();
    const absl::Status refused = SqliteJournal::open(folder_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_TRUE(absl::StrContains(refused.message(), "move the file away")) << refused;
    EXPECT_EQ(files(), before);
  }
  ASSERT_TRUE(write_file_atomically(path(), whole).ok());
  EXPECT_EQ(load(*open()).numbers.size(), 2000U);
}

TEST_F(SqliteJournalTest, AChangedByteInsideAnEventIsFound) {
  ASSERT_TRUE(open()->append({event(1), event(2)}).ok());
  alter("UPDATE event SET body = CAST(replace(body, 'job', 'jab') AS BLOB) WHERE sequence = 2");
  const absl::Status status = load(*open()).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "event 2 does not match its checksum")) << status;
}

TEST_F(SqliteJournalTest, AMissingEventIsFound) {
  ASSERT_TRUE(open()->append({event(1), event(2), event(3)}).ok());
  alter("DELETE FROM event WHERE sequence = 2");
  EXPECT_EQ(load(*open()).status.code(), absl::StatusCode::kDataLoss);
}

TEST_F(SqliteJournalTest, AFullDiskIsAnErrorAndNothingOfTheBatchRemains) {
  {
    auto journal = open();
    ASSERT_TRUE(journal->append({event(1)}).ok());
  }
  {
    auto journal = open();
    // The file may not grow: what a full disk does to a commit.
    v1::JournalEvent large = event(2);
    large.mutable_job_created()->set_folder(std::string(1 << 20, 'x'));
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    rlimit small = before;
    small.rlim_cur = 64 << 10;
    const auto handler = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_FALSE(journal->append({large}).ok());
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
  }
  EXPECT_EQ(load(*open()).numbers, (std::vector<uint64_t>{1}));
}

}  // namespace
}  // namespace galleon::server
