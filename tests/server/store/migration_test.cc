// Databases of earlier versions, backups that are put back, and torn writes.
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "server/core/state.h"
#include "server/store/backup.h"
#include "server/store/sqlite_journal.h"
#include "tests/server/store/journal_contents.h"

namespace galleon::server {
namespace {

using J = v1::JobRecord;

class Migration : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-migration-", random_hex(8))).string();
    std::filesystem::create_directories(folder_ + "/data");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string data() const { return folder_ + "/data"; }
  std::string file() const { return data() + "/scheduler.db"; }

  // Opens the journal and plays it into a state.
  std::unique_ptr<SqliteJournal> open(State& state) {
    absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(data());
    EXPECT_TRUE(journal.ok()) << journal.status();
    if (!journal.ok()) return nullptr;
    const absl::Status loaded = (*journal)->load({
        [&](const v1::StateSnapshot& head) { state.restore_head(head); },
        [&](absl::string_view body) { return state.restore_job(body); },
        [&](const v1::JournalEvent& event) { state.apply(event); },
    });
    EXPECT_TRUE(loaded.ok()) << loaded;
    return *std::move(journal);
  }

  std::string folder_;
};

// The file was written by the first version: a snapshot, then seven events.
TEST_F(Migration, ADatabaseOfVersionOneIsReadAsItWasAndKept) {
  const std::string original = absl::StrCat(GALLEON_SOURCE_DIR, "/tests/fixtures/scheduler-schema-1.db");
  std::filesystem::copy_file(original, file());
  for (int time = 0; time < 2; ++time) {
    State state;
    auto journal = open(state);
    ASSERT_NE(journal, nullptr);
    EXPECT_EQ(state.job("done-1")->record().state(), J::SUCCEEDED);
    EXPECT_EQ(state.job("done-1")->record().checkpoint().step(), 5U);
    EXPECT_EQ(state.job("cancelled-2")->record().state(), J::CANCELLED);
    EXPECT_EQ(state.job("gang-3")->record().state(), J::RUNNING);
    EXPECT_EQ(state.job("gang-3")->record().priority(), 2);
    EXPECT_EQ(state.job("gang-3")->record().queue(), "default");
    EXPECT_EQ(state.job("done-1")->record().queue(), "default");
    EXPECT_EQ(state.job_by_request("request-1")->record().job_id(), "waiting-4");
    EXPECT_EQ(state.queue().size(), 2U);
    EXPECT_EQ(state.queue().begin()->second->record().job_id(), "waiting-4");
    EXPECT_EQ(state.leased_slots("a").size(), 2U);
    EXPECT_EQ(state.leased_slots("b").size(), 1U);
    if (time == 0) {
      SnapshotChange change;
      change.head = state.head();
      change.jobs.assign(state.changed().begin(), state.changed().end());
      change.body = [&state](uint64_t number) { return state.body(number); };
      ASSERT_TRUE(journal->compact(change).ok());
    }
  }
  // What it was is still there for the version that wrote it.
  absl::StatusOr<SqliteDatabase> kept = SqliteDatabase::open(file() + ".schema-1", SqliteDatabase::Mode::kReadOnly);
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(*kept->number("PRAGMA user_version"), 1);
  EXPECT_EQ(*kept->number("SELECT count(*) FROM event"), 7);
}

TEST_F(Migration, AMigrationThatCannotBeCompletedLeavesTheOldVersionInPlace) {
  std::filesystem::copy_file(absl::StrCat(GALLEON_SOURCE_DIR, "/tests/fixtures/scheduler-schema-1.db"), file());
  {
    absl::StatusOr<SqliteDatabase> database = SqliteDatabase::open(file(), SqliteDatabase::Mode::kReadWrite);
    ASSERT_TRUE(database->execute("UPDATE snapshot SET checksum = checksum + 1").ok());
  }
  for (int time = 0; time < 2; ++time)
    EXPECT_EQ(SqliteJournal::open(data()).status().code(), absl::StatusCode::kDataLoss);
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::open(file(), SqliteDatabase::Mode::kReadWrite);
  EXPECT_EQ(*database->number("PRAGMA user_version"), 1);
  EXPECT_EQ(*database->number("SELECT count(*) FROM event"), 7);
}

TEST_F(Migration, ARestoredBackupTakesThePlaceOfADamagedFileAndItsEpochsAreNeverUsedAgain) {
  std::filesystem::copy_file(absl::StrCat(GALLEON_SOURCE_DIR, "/tests/fixtures/scheduler-schema-1.db"), file());
  const std::string backup = folder_ + "/backup.db";
  uint64_t last_epoch = 0;
  {
    State state;
    auto journal = open(state);
    last_epoch = state.last_epoch();
    ASSERT_TRUE(journal->backup(backup).ok());
    EXPECT_EQ(restore_backup(backup, data()).status().code(), absl::StatusCode::kAlreadyExists);
  }
  ASSERT_TRUE(write_file_atomically(file(), std::string(20'000, 'x')).ok());
  const absl::Status refused = SqliteJournal::open(data()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(refused.message(), "--restore BACKUP")) << refused;
  const absl::StatusOr<Restored> restored = restore_backup(backup, data());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->jobs, 5U);
  EXPECT_EQ(read_file(restored->replaced)->substr(0, 5), "xxxxx");
  State state;
  ASSERT_NE(open(state), nullptr);
  EXPECT_EQ(state.jobs().size(), 5U);
  EXPECT_GE(state.last_epoch(), last_epoch + 1'000'000);
  EXPECT_FALSE(std::filesystem::exists(data() + "/restoring"));
}

TEST_F(Migration, ABackupOfVersionOneIsRestoredAndBroughtToThisVersion) {
  const std::string backup = absl::StrCat(GALLEON_SOURCE_DIR, "/tests/fixtures/scheduler-schema-1.db");
  const std::string before = *read_file(backup);
  const absl::StatusOr<Restored> restored = restore_backup(backup, data());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->jobs, 5U);
  State state;
  ASSERT_NE(open(state), nullptr);
  EXPECT_EQ(state.job("gang-3")->record().state(), J::RUNNING);
  EXPECT_EQ(state.queue().size(), 2U);
  EXPECT_GE(state.last_epoch(), 1'000'000U);
  EXPECT_EQ(*read_file(backup), before);
}

TEST_F(Migration, WhatIsNotAWholeBackupIsRefusedAndNothingIsChanged) {
  {
    State state;
    ASSERT_TRUE(open(state)->append({event(1)}).ok());
  }
  const std::string before = *read_file(file());
  const std::string bad = folder_ + "/bad.db";
  EXPECT_EQ(restore_backup(folder_ + "/none", data()).status().code(), absl::StatusCode::kNotFound);
  for (const std::string& content : {std::string("text"), before.substr(0, before.size() / 2)}) {
    ASSERT_TRUE(write_file_atomically(bad, content).ok());
    const absl::Status refused = restore_backup(bad, data()).status();
    EXPECT_FALSE(refused.ok());
    EXPECT_TRUE(absl::StrContains(refused.message(), "nothing was changed")) << refused;
  }
  EXPECT_EQ(*read_file(file()), before);
}

// A power cut in the middle of a write: the write-ahead log ends anywhere, or its end holds something else.
TEST_F(Migration, AWriteAheadLogThatIsCutOrTornAnywhereGivesWholeBatchesInOrder) {
  constexpr uint64_t kBatches = 8;
  {
    State state;
    auto journal = open(state);
    for (uint64_t i = 0; i < kBatches; ++i)
      ASSERT_TRUE(journal->append({event(3 * i + 1), event(3 * i + 2), event(3 * i + 3)}).ok());
    // As the disk is when the power goes: the journal is still open.
    std::filesystem::copy(data(), folder_ + "/cut");
  }
  const std::string log = *read_file(folder_ + "/cut/scheduler.db-wal");
  const std::string database = *read_file(folder_ + "/cut/scheduler.db");
  size_t most = 0;
  for (size_t length = 0; length <= log.size(); length += 613) {
    for (const bool torn : {false, true}) {
      std::filesystem::remove_all(data());
      std::filesystem::create_directories(data());
      ASSERT_TRUE(write_file_atomically(file(), database).ok());
      const std::string rest = torn ? std::string(log.size() - length, '\x5a') : "";
      ASSERT_TRUE(write_file_atomically(file() + "-wal", log.substr(0, length) + rest).ok());
      absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(data());
      ASSERT_TRUE(journal.ok()) << journal.status() << " at " << length;
      const Contents found = contents(**journal);
      ASSERT_TRUE(found.status.ok()) << found.status << " at " << length;
      ASSERT_EQ(found.numbers.size() % 3, 0U) << length;
      for (uint64_t i = 0; i < found.numbers.size(); ++i) ASSERT_EQ(found.numbers[i], i + 1);
      most = std::max(most, found.numbers.size());
    }
  }
  EXPECT_GE(most, 3 * (kBatches - 1));
}

}  // namespace
}  // namespace galleon::server
