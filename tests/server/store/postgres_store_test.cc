// What a journal in PostgreSQL does beyond what every store does: one writer a term, databases that would lose
// something, and databases that go away.
#ifdef GALLEON_POSTGRES
#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "server/store/backup.h"
#include "server/store/shared_store.h"
#include "server/store/sqlite_journal.h"
#include "server/store/transfer.h"
#include "tests/server/store/journal_contents.h"
#include "tests/server/store/postgres_store_fixture.h"

namespace galleon::server {
namespace {

using testing::HasSubstr;

TEST_F(PostgresStoreTest, WhatIsWrittenUnderAnOlderTermIsNotWrittenAndItsWriterIsTold) {
  options_.lease = absl::Seconds(30);  // its keeper notices later than the writes here
  const std::unique_ptr<Journal> old = take();
  ASSERT_TRUE(old->append({event(1)}).ok());
  const std::unique_ptr<Journal> fresh = take_over();
  ASSERT_NE(fresh, nullptr);
  ASSERT_TRUE(fresh->append({event(2)}).ok());
  const absl::Status late = old->append({event(3)});
  EXPECT_TRUE(is_term_over(late)) << late;
  SnapshotChange change;
  change.head.set_last_epoch(5);
  change.body = [](uint64_t) { return absl::string_view(); };
  EXPECT_TRUE(is_term_over(old->compact(change))) << "a snapshot is fenced as an event is";
  EXPECT_EQ(contents(*fresh).numbers, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(sql("SELECT sequence FROM galleon.snapshot_sequence"), "0\n");
  ASSERT_TRUE(fresh->append({event(4)}).ok());
}

// Its connection works, and nothing stands there yet that it could collide with: the term alone keeps it out.
TEST_F(PostgresStoreTest, NothingIsWrittenBetweenATakeoverAndTheFirstEntryOfTheNewTerm) {
  keep_connections_ = true;
  options_.lease = absl::Seconds(30);
  const std::unique_ptr<Journal> old = take();
  ASSERT_TRUE(old->append({event(1)}).ok());
  const std::unique_ptr<Journal> fresh = take_over();
  ASSERT_NE(fresh, nullptr);
  const absl::Status late = old->append({event(2)});
  EXPECT_TRUE(is_term_over(late)) << late;
  EXPECT_EQ(contents(*fresh).numbers, (std::vector<uint64_t>{1}));
  ASSERT_TRUE(fresh->append({event(3)}).ok());
}

TEST_F(PostgresStoreTest, TheWriterWhoseTermIsOverHearsOfItWhileItWritesNothing) {
  const std::unique_ptr<Journal> old = take();
  let_lease_end();
  sql("UPDATE galleon.writer SET term = term + 1");
  EXPECT_TRUE(eventually([&] { return over_ == 1; }));
  EXPECT_TRUE(is_term_over(old->standing()));
}

TEST_F(PostgresStoreTest, ALeaseIsRenewedWhileNothingIsWrittenAndEndsAtOnceWithTheJournal) {
  absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
  ASSERT_TRUE(store.ok()) << store.status();
  std::unique_ptr<Journal> journal = take();
  const absl::Duration until = clock_.monotonic() + 4 * options_.lease;
  while (clock_.monotonic() < until) {
    ASSERT_FALSE((*store)->look()->free);
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_EQ((*store)->look()->advertise, "alpha:7070");
  journal.reset();
  EXPECT_TRUE((*store)->look()->free);
  EXPECT_EQ(over_, 0);
}

TEST_F(PostgresStoreTest, OfTwoThatSeeTheSameEndOfALeaseOneGetsTheTerm) {
  absl::StatusOr<std::unique_ptr<SharedStore>> one = open_shared_store(options_), two = open_shared_store(options_);
  ASSERT_TRUE(one.ok() && two.ok());
  const SharedStore::Standing seen = *(*one)->look();
  ASSERT_TRUE(seen.free);
  options_.advertise = "beta:7070";
  const absl::StatusOr<std::unique_ptr<Journal>> first = (*one)->take(seen), second = (*two)->take(seen);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("at alpha:7070"));
}

// The machine's own clock says nothing about a lease: here it runs hours behind the database's, and ahead of it.
TEST_F(PostgresStoreTest, ALeaseIsOfTheDatabasesClock) {
  for (const char* offset : {"2 hours", "-2 hours"}) {
    move_database_clock(offset);
    const std::unique_ptr<Journal> journal = take();
    ASSERT_NE(journal, nullptr);
    absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    // Beyond what it was given at first.
    const absl::Duration until = clock_.monotonic() + 2 * options_.lease;
    while (clock_.monotonic() < until) {
      ASSERT_FALSE((*store)->look()->free) << offset;
      EXPECT_EQ(sql("SELECT lease_until BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 s' FROM "
                    "galleon.writer"),
                "t\n")
          << offset;
    }
    ASSERT_TRUE(journal->append({event(1)}).ok());
  }
  EXPECT_EQ(over_, 0);
}

// Whether somebody takes over then or not: one writes, and who does not any more hears of it.
TEST_F(PostgresStoreTest, ADatabasesClockThatJumpsLeavesOneWriter) {
  options_.lease = absl::Seconds(3);
  move_database_clock("0");
  std::unique_ptr<Journal> journal = take();
  uint64_t written = 0;
  for (const char* offset : {"3 hours", "-3 hours"}) {
    ASSERT_TRUE(journal->append({event(++written)}).ok());
    absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    sql(absl::StrCat("UPDATE galleon_test.clock SET ahead = '", offset, "'"));
    absl::StatusOr<SharedStore::Standing> seen = (*store)->look();
    ASSERT_TRUE(seen.ok());
    // Its own renewal may have come before the look.
    if (!seen->free) continue;
    absl::StatusOr<std::unique_ptr<Journal>> next = (*store)->take(*seen);
    if (!next.ok()) continue;
    EXPECT_TRUE(is_term_over(journal->append({event(99)})));
    EXPECT_TRUE(eventually([&] { return is_term_over(journal->standing()); }));
    journal = *std::move(next);
  }
  ASSERT_TRUE(journal->append({event(++written)}).ok());
  EXPECT_EQ(contents(*journal).numbers, (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(PostgresStoreTest, ALeaseThatWasPutBackHoldsNobodyUp) {
  options_.lease = absl::Seconds(30);
  const std::unique_ptr<Journal> journal = take();
  absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
  ASSERT_TRUE(store.ok());
  EXPECT_FALSE((*store)->look()->free);
  // As if the database's clock had been put back by two hours since.
  sql("UPDATE galleon.writer SET lease_until = clock_timestamp() + interval '2 hours'");
  EXPECT_TRUE((*store)->look()->free);
}

TEST_F(PostgresStoreTest, ADatabaseThatRestartsIsWaitedForAndTheBatchIsThereOnce) {
  const std::unique_ptr<Journal> journal = take();
  ASSERT_TRUE(journal->append({event(1)}).ok());
  for (const int signal : {SIGINT, SIGQUIT}) {
    cluster_->end(signal);
    absl::Status status;
    std::thread writer([&] { status = journal->append({event(signal == SIGINT ? 2 : 3)}); });
    absl::SleepFor(absl::Milliseconds(300));
    EXPECT_TRUE(cluster_->begin());
    writer.join();
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(journal->standing().ok());
  }
  EXPECT_EQ(contents(*journal).numbers, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(over_, 0);
}

TEST_F(PostgresStoreTest, AConnectionThatIsCutAtAnyMomentLosesAndDoublesNothing) {
  options_.lease = absl::Seconds(5);
  const std::unique_ptr<Journal> journal = take();
  std::atomic<bool> done{false};
  std::atomic<int> cuts{0};
  std::thread cutter([&] {
    while (!done) {
      cluster_->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database_ + "'",
                    "postgres");
      ++cuts;
    }
  });
  std::vector<uint64_t> written;
  for (uint64_t i = 1; i <= 60 || cuts < 5; ++i) {
    ASSERT_TRUE(journal->append({event(i)}).ok());
    written.push_back(i);
    if (i % 20 == 0) {
      SnapshotChange change;
      change.head.set_last_job_number(i);
      change.body = [](uint64_t) { return absl::string_view(); };
      if (journal->compact(change).ok()) written.clear();
    }
  }
  done = true;
  cutter.join();
  ASSERT_TRUE(journal->append({event(0)}).ok());
  written.push_back(0);
  const Contents found = contents(*journal);
  ASSERT_TRUE(found.status.ok()) << found.status;
  EXPECT_EQ(found.numbers, written);
}

TEST_F(PostgresStoreTest, ADatabaseThatStaysAwayIsAnErrorWhenPatienceEnds) {
  options_.patience = absl::Seconds(1);
  const std::unique_ptr<Journal> journal = take();
  cluster_->end(SIGINT);
  const absl::Status status = journal->append({event(1)});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_FALSE(is_term_over(status));
  EXPECT_TRUE(cluster_->begin());
}

// As behind a pooler that still leads to the old primary: what is connected only reads, and a new connection writes.
TEST_F(PostgresStoreTest, AConnectionThatOnlyReadsIsLeftForANewOne) {
  options_.patience = absl::Seconds(20);
  const std::unique_ptr<Journal> journal = take();
  ASSERT_TRUE(journal->append({event(1)}).ok());
  sql("ALTER DATABASE " + database_ + " SET default_transaction_read_only = off");
  cluster_->sql("ALTER SYSTEM SET default_transaction_read_only = on", "postgres");
  cluster_->sql("SELECT pg_reload_conf()", "postgres");
  EXPECT_TRUE(
      eventually([&] { return cluster_->sql("SHOW default_transaction_read_only", "postgres").out == "on\n"; }));
  // Its session has read the file too when it has answered once more.
  absl::SleepFor(absl::Milliseconds(200));
  const absl::Status status = journal->append({event(2)});
  cluster_->sql("ALTER SYSTEM RESET default_transaction_read_only", "postgres");
  cluster_->sql("SELECT pg_reload_conf()", "postgres");
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(journal->standing().ok());
  EXPECT_EQ(contents(*journal).numbers, (std::vector<uint64_t>{1, 2}));
}

// As when a password is changed: first in the database, then in the file.
TEST_F(PostgresStoreTest, AnAddressInAFileIsReadAgainForEachConnection) {
  std::filesystem::create_directories(folder_);
  const std::string path = folder_ + "/store";
  const std::string where = options_.url.substr(options_.url.find('@'));
  const auto say = [&](const std::string& user) {
    std::ofstream(path) << "postgresql://" << user << where << "\n";
    ::chmod(path.c_str(), 0600);
  };
  const std::string first = "first_" + database_, second = "second_" + database_;
  cluster_->sql("CREATE ROLE " + first + " LOGIN; GRANT CREATE ON DATABASE " + database_ + " TO " + first, "postgres");
  say(first);
  options_.url = "@" + path;
  const std::unique_ptr<Journal> journal = take();
  ASSERT_TRUE(journal->append({event(1)}).ok());
  cluster_->sql("ALTER ROLE " + first + " RENAME TO " + second, "postgres");
  cluster_->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database_ + "'",
                "postgres");
  absl::Status status;
  std::thread writer([&] { status = journal->append({event(2)}); });
  EXPECT_TRUE(eventually([&] {
    return absl::StrContains(read_file(cluster_->log()).value_or(""), "role \"" + first + "\" does not exist");
  }));
  say(second);
  writer.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(journal->standing().ok());
  EXPECT_EQ(contents(*journal).numbers, (std::vector<uint64_t>{1, 2}));
}

TEST_F(PostgresStoreTest, TheTimeThatADatabaseGivesAStatementIsNotTheStores) {
  cluster_->sql("ALTER DATABASE " + database_ + " SET statement_timeout = '150ms'", "postgres");
  const std::unique_ptr<Journal> journal = take();
  ASSERT_TRUE(journal->append({event(1)}).ok());
  std::thread holder(
      [&] { sql("BEGIN; LOCK TABLE galleon.event; SET statement_timeout = 0; SELECT pg_sleep(1); COMMIT"); });
  EXPECT_TRUE(eventually([&] {
    return cluster_
               ->sql(
                   "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = "
                   "'galleon.event'::regclass AND granted",
                   database_)
               .out == "1\n";
  }));
  const absl::Duration before = clock_.monotonic();
  SnapshotChange change;
  change.head.set_last_job_number(1);
  change.body = [](uint64_t) { return absl::string_view(); };
  const absl::Status status = journal->compact(change);
  holder.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GT(clock_.monotonic() - before, absl::Milliseconds(150)) << "it did not have to wait";
  EXPECT_EQ(sql("SELECT sequence FROM galleon.snapshot_sequence"), "1\n");
}

TEST_F(PostgresStoreTest, OneThatWasPutBackToAnEarlierMomentIsRefused) {
  {
    const std::unique_ptr<Journal> journal = take();
    ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
    sql("DELETE FROM galleon.event WHERE sequence = 2");
    cluster_->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database_ + "'",
                  "postgres");
    EXPECT_EQ(journal->append({event(3)}).code(), absl::StatusCode::kDataLoss);
  }
  absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
  ASSERT_TRUE(store.ok());
  const absl::Status status = (*store)->take(*(*store)->look()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("holds 1 entries, and 2 had been acknowledged"));
}

TEST_F(PostgresStoreTest, SettingsThatWouldLoseSomethingAreRefusedByName) {
  const std::string alter = "ALTER DATABASE " + database_ + " SET ";
  for (const auto& [setting, told] : std::vector<std::pair<std::string, std::string>>{
           {"synchronous_commit = off", "synchronous_commit = off"},
           {"default_transaction_isolation = 'serializable'", "default_transaction_isolation = serializable"},
           {"default_transaction_read_only = on", "default_transaction_read_only = on"}}) {
    cluster_->sql(alter + setting, "postgres");
    const absl::Status status = refused();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(told));
    cluster_->sql("ALTER DATABASE " + database_ + " RESET ALL", "postgres");
  }
  EXPECT_TRUE(refused().ok());
  // Without a standby nothing is lost by it.
  cluster_->sql(alter + "synchronous_commit = local", "postgres");
  EXPECT_TRUE(refused().ok());
  cluster_->sql("ALTER SYSTEM SET synchronous_standby_names = 'elsewhere'", "postgres");
  cluster_->sql("SELECT pg_reload_conf()", "postgres");
  EXPECT_TRUE(eventually([&] { return absl::StrContains(refused().message(), "synchronous_commit = local"); }));
  cluster_->sql("ALTER SYSTEM RESET synchronous_standby_names", "postgres");
  cluster_->sql("ALTER SYSTEM SET fsync = off", "postgres");
  cluster_->sql("SELECT pg_reload_conf()", "postgres");
  EXPECT_TRUE(eventually([&] { return absl::StrContains(refused().message(), "fsync = off"); }));
  cluster_->sql("ALTER SYSTEM RESET fsync", "postgres");
  cluster_->sql("SELECT pg_reload_conf()", "postgres");
  EXPECT_TRUE(eventually([&] { return refused().ok(); }));
}

TEST_F(PostgresStoreTest, ADatabaseOfAnotherClusterOrProgramOrANewerVersionIsRefusedAndLeftAsItIs) {
  { ASSERT_TRUE(take()->append({event(1)}).ok()); }
  const std::string ours = options_.data;
  options_.data = folder_ + "/other";
  EXPECT_THAT(std::string(refused().message()), HasSubstr("there is no " + options_.data + "/scheduler.cluster"));
  options_.url = cluster_->url(cluster_->make_database());
  EXPECT_TRUE(refused().ok()) << "two new ones begin together";
  options_.data = ours;
  absl::Status status = refused();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("scheduler.cluster is of "));
  options_.url = cluster_->url(cluster_->make_database());
  EXPECT_THAT(std::string(refused().message()), HasSubstr("another database, or was emptied"));
  const std::string foreign = cluster_->make_database();
  cluster_->sql("CREATE SCHEMA galleon", foreign);
  options_.url = cluster_->url(foreign);
  EXPECT_THAT(std::string(refused().message()), HasSubstr("another program's"));
  options_.url = cluster_->url(database_);
  sql("UPDATE galleon.store SET schema_version = 3");
  status = refused();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("newer Galleon (schema 3"));
  // An older one is brought to this version.
  sql("UPDATE galleon.store SET schema_version = 1");
  EXPECT_EQ(contents(*take()).numbers, (std::vector<uint64_t>{1}));
  EXPECT_EQ(sql("SELECT schema_version FROM galleon.store"), "2\n");
}

TEST_F(PostgresStoreTest, ManyThatStartAtOnceOnAnEmptyDatabaseMakeOneClusterOfIt) {
  std::vector<std::thread> threads;
  std::vector<absl::Status> opened(6);
  for (absl::Status& status : opened) threads.emplace_back([&] { status = refused(); });
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : opened) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(PostgresStoreTest, AnSqliteJournalBesideAnEmptyDatabaseIsNotForgotten) {
  { ASSERT_TRUE((*SqliteJournal::open(options_.data))->append({event(1)}).ok()); }
  EXPECT_THAT(std::string(refused().message()), HasSubstr("--export without --store"));
}

TEST_F(PostgresStoreTest, ChangedRowsAreFound) {
  const std::unique_ptr<Journal> journal = take();
  ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
  sql("UPDATE galleon.event SET body = body || '\\x00' WHERE sequence = 2");
  EXPECT_EQ(contents(*journal).status.code(), absl::StatusCode::kDataLoss);
  sql("DELETE FROM galleon.event WHERE sequence = 1");
  EXPECT_EQ(contents(*journal).status.code(), absl::StatusCode::kDataLoss);
}

TEST_F(PostgresStoreTest, AStateGoesToTheDatabaseAndBackAndNothingIsOverwritten) {
  const std::string sqlite = folder_ + "/sqlite";
  {
    const auto journal = *SqliteJournal::open(sqlite);
    ASSERT_TRUE(journal->append({event(1), event(2)}).ok());
    SnapshotChange change;
    change.head.set_last_job_number(2);
    const v1::JobState two = job_state(2, 7);
    std::string body;
    change.jobs = {2};
    change.body = [&](uint64_t) -> absl::string_view { return body = two.SerializeAsString(); };
    ASSERT_TRUE(journal->compact(change).ok());
    ASSERT_TRUE(journal->append({event(3)}).ok());
  }
  SharedStoreOptions from = options_;
  from.url = "";
  from.data = sqlite;
  const absl::StatusOr<Transferred> out = export_journal(from, folder_ + "/a.db");
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->jobs, 2U);
  EXPECT_EQ(export_journal(from, folder_ + "/a.db").status().code(), absl::StatusCode::kAlreadyExists);
  const absl::StatusOr<Transferred> in = import_journal(options_, folder_ + "/a.db", false);
  ASSERT_TRUE(in.ok()) << in.status();
  EXPECT_EQ(in->rows, out->rows);
  EXPECT_EQ(import_journal(options_, folder_ + "/a.db", false).status().code(), absl::StatusCode::kAlreadyExists);
  {
    const std::unique_ptr<Journal> journal = take();
    const Contents found = contents(*journal);
    ASSERT_TRUE(found.status.ok()) << found.status;
    EXPECT_EQ(found.jobs.size(), 1U);
    EXPECT_EQ(found.numbers, (std::vector<uint64_t>{3, 0})) << "and behind it that epochs skip";
    EXPECT_EQ(export_journal(options_, folder_ + "/b.db").status().code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(import_journal(options_, folder_ + "/a.db", true).status().code(), absl::StatusCode::kAlreadyExists);
  }
  const absl::StatusOr<Transferred> back = export_journal(options_, folder_ + "/b.db");
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->rows.events, out->rows.events + 1);
  EXPECT_TRUE(restore_backup(folder_ + "/b.db", folder_ + "/again").ok());
  ASSERT_TRUE(import_journal(options_, folder_ + "/a.db", true).ok()) << "what was there is kept beside";
}

TEST_F(PostgresStoreTest, AStateMovesWithinItsFolderAndComesBackWhereTheDatabaseDoesNotTakeIt) {
  SharedStoreOptions from = options_;
  from.url = "";
  const std::string file = folder_ + "/a.db";
  { ASSERT_TRUE((*SqliteJournal::open(options_.data))->append({event(1), event(2)}).ok()); }
  ASSERT_TRUE(export_journal(from, file).ok());
  { ASSERT_TRUE((*SqliteJournal::open(options_.data))->append({event(3)}).ok()); }
  EXPECT_THAT(std::string(import_journal(options_, file, false).status().message()), HasSubstr("export it again"));
  const std::string fresh = folder_ + "/b.db";
  ASSERT_TRUE(export_journal(from, fresh).ok());
  SharedStoreOptions away = options_;
  away.url = "postgresql://galleon@/postgres?host=/nowhere";
  away.patience = absl::Seconds(1);
  EXPECT_EQ(import_journal(away, fresh, false).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::exists(options_.data + "/scheduler.db")) << "what was not taken is where it was";
  {
    const auto running = SqliteJournal::open(options_.data);
    EXPECT_FALSE(import_journal(options_, fresh, true).ok()) << "a scheduler works on it";
  }
  std::filesystem::rename(options_.data + "/scheduler.db", folder_ + "/meanwhile");
  EXPECT_EQ(SqliteJournal::open(options_.data).status().code(), absl::StatusCode::kDataLoss) << "one that is cut off";
  std::filesystem::rename(folder_ + "/meanwhile", options_.data + "/scheduler.db");
  const absl::StatusOr<Transferred> moved = import_journal(options_, fresh, false);
  ASSERT_TRUE(moved.ok()) << moved.status();
  EXPECT_FALSE(std::filesystem::exists(options_.data + "/scheduler.db"));
  EXPECT_EQ(contents(*take()).numbers, (std::vector<uint64_t>{1, 2, 3, 0})) << "and behind it that epochs skip";
}

TEST(StoreAddress, APasswordOnTheCommandLineIsRefusedAndNotRepeated) {
  for (const char* text : {"postgresql://me:hidden@db/galleon", "postgres://db/galleon?password=hidden",
                           "postgresql:///galleon?host=db&sslpassword=hidden", "postgresql://db/x?pass%77ord=hidden"}) {
    const absl::Status status = parse_store(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_FALSE(absl::StrContains(status.message(), "hidden")) << status;
  }
  for (const char* text : {"postgresql://db:5432/galleon", "postgresql://me@[::1]:5432/galleon?sslmode=verify-full",
                           "postgresql:///?service=galleon"}) {
    ASSERT_TRUE(parse_store(text).ok()) << text;
    EXPECT_EQ(parse_store(text)->url, text);
  }
  EXPECT_EQ(parse_store("mysql://hidden").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(parse_store("")->url.empty());
}

TEST(StoreAddress, AFileMayHoldOneIfNobodyElseReadsIt) {
  const std::string path = absl::StrCat(testing::TempDir(), "store-", random_hex(6));
  std::ofstream(path) << "postgresql://me:hidden@db/galleon\n";
  ::chmod(path.c_str(), 0644);
  EXPECT_EQ(parse_store("@" + path).status().code(), absl::StatusCode::kPermissionDenied);
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(parse_store("@" + path)->url, "postgresql://me:hidden@db/galleon");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace galleon::server
#else
#include <gtest/gtest.h>

#include "server/store/shared_store.h"

TEST(SharedStore, AProgramWithoutPostgresSaysSo) {
  galleon::server::SharedStoreOptions options;
  options.url = "postgresql://db/galleon";
  const absl::Status status = galleon::server::open_shared_store(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("built without PostgreSQL"), absl::string_view::npos) << status;
}
#endif
