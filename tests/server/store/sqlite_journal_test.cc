#include "server/store/sqlite_journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/ids.h"
#include "server/core/state.h"
#include "tests/server/store/journal_contents.h"

namespace galleon::server {
namespace {

class SqliteJournalTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-journal-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<SqliteJournal> open() {
    absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(folder_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
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

TEST_F(SqliteJournalTest, ANewerDatabaseIsRefusedAndLeftAsItIs) {
  ASSERT_TRUE(open()->append({event(1)}).ok());
  alter("PRAGMA user_version = 3");
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
  EXPECT_EQ(contents(*open()).numbers.size(), 2000U);
}

TEST_F(SqliteJournalTest, AFileOfNoBytesIsRefusedByNameAndSoIsAWriteAheadLogAlone) {
  ASSERT_TRUE(open()->append({event(1)}).ok());
  const std::string whole = *read_file(path());
  ASSERT_TRUE(write_file_atomically(path(), "").ok());
  const absl::Status empty = SqliteJournal::open(folder_).status();
  EXPECT_EQ(empty.code(), absl::StatusCode::kDataLoss) << empty;
  EXPECT_TRUE(absl::StrContains(empty.message(), path() + " has 0 bytes")) << empty;
  EXPECT_EQ(*read_file(path()), "");
  std::filesystem::remove(path());
  ASSERT_TRUE(write_file_atomically(path() + "-wal", "entries").ok());
  const absl::Status alone = SqliteJournal::open(folder_).status();
  EXPECT_EQ(alone.code(), absl::StatusCode::kDataLoss) << alone;
  EXPECT_TRUE(absl::StrContains(alone.message(), path() + " is not there, but")) << alone;
  EXPECT_EQ(*read_file(path() + "-wal"), "entries");
  std::filesystem::remove(path() + "-wal");
  ASSERT_TRUE(write_file_atomically(path(), whole).ok());
  EXPECT_EQ(contents(*open()).numbers.size(), 1U);
}

TEST_F(SqliteJournalTest, AStartThatDiedWhileItMadeTheFileIsMadeAgain) {
  ASSERT_TRUE(write_file_atomically(path() + ".new", "half").ok());
  ASSERT_TRUE(open()->append({event(1)}).ok());
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
  EXPECT_EQ(contents(*open()).numbers.size(), 1U);
}

TEST_F(SqliteJournalTest, AChangedByteInsideAnEventIsFound) {
  ASSERT_TRUE(open()->append({event(1), event(2)}).ok());
  alter("UPDATE event SET body = CAST(replace(body, 'job', 'jab') AS BLOB) WHERE sequence = 2");
  const absl::Status status = contents(*open()).status;
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "event 2 does not match its checksum")) << status;
}

// SQLite ends a write-ahead log at the first frame that does not match its checksum.
TEST_F(SqliteJournalTest, AWriteAheadLogThatIsDamagedInItsMiddleIsRefusedWithAWayOut) {
  auto journal = open();
  for (uint64_t i = 1; i <= 300; ++i) ASSERT_TRUE(journal->append({event(i)}).ok());
  // What a machine that is switched off leaves.
  const std::string copy = folder_ + "/copy";
  ASSERT_TRUE(std::filesystem::create_directory(copy));
  for (const char* name : {"scheduler.db", "scheduler.db-wal", "scheduler.acknowledged"})
    std::filesystem::copy_file(absl::StrCat(folder_, "/", name), absl::StrCat(copy, "/", name));
  const std::string log = copy + "/scheduler.db-wal";
  std::string bytes = *read_file(log);
  for (int i = 0; i < 3; ++i) bytes[bytes.size() / 2 + 97 * i] ^= 1;
  ASSERT_TRUE(write_file_atomically(log, bytes).ok());
  const absl::Status refused = SqliteJournal::open(copy).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(refused.message(), " entries, and 300 had been acknowledged")) << refused;
  EXPECT_EQ(*read_file(log), bytes) << "what is refused is left as it is";
  std::filesystem::remove(copy + "/scheduler.acknowledged");
  const absl::StatusOr<std::unique_ptr<SqliteJournal>> without = SqliteJournal::open(copy);
  ASSERT_TRUE(without.ok()) << without.status();
  const size_t left = contents(**without).numbers.size();
  EXPECT_GT(left, 10U);
  EXPECT_LT(left, 290U);
}

TEST_F(SqliteJournalTest, AJournalThatHasGoneIsMissedAndATornLineOrAnOldJournalIsNoReason) {
  ASSERT_TRUE(open()->append({event(1), event(2)}).ok());
  const std::string line = *read_file(folder_ + "/scheduler.acknowledged");
  std::filesystem::rename(path(), folder_ + "/elsewhere");
  EXPECT_EQ(SqliteJournal::open(folder_).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(path());
  std::filesystem::rename(folder_ + "/elsewhere", path());
  for (const std::string& torn : {std::string(), line.substr(0, 20), "f" + line.substr(1), std::string(34, '\0')}) {
    ASSERT_TRUE(write_file_atomically(folder_ + "/scheduler.acknowledged", torn).ok());
    EXPECT_EQ(contents(*open()).numbers.size(), 2U);
  }
}

TEST_F(SqliteJournalTest, AMissingEventIsFound) {
  ASSERT_TRUE(open()->append({event(1), event(2), event(3)}).ok());
  alter("DELETE FROM event WHERE sequence = 2");
  EXPECT_EQ(contents(*open()).status.code(), absl::StatusCode::kDataLoss);
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
  EXPECT_EQ(contents(*open()).numbers, (std::vector<uint64_t>{1}));
}

}  // namespace
}  // namespace galleon::server
