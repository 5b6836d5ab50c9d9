// A journal in a PostgreSQL of the test's own, and what happens to it there.
#pragma once

#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "server/store/shared_store.h"
#include "tests/server/store/postgres_cluster.h"

namespace galleon::server {

class PostgresStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (PostgresCluster::programs().empty()) GTEST_SKIP() << "PostgreSQL's initdb and postgres are not here";
    if (cluster_ == nullptr) cluster_ = PostgresCluster::start();
    ASSERT_NE(cluster_, nullptr);
    database_ = cluster_->make_database();
    folder_ = absl::StrCat(testing::TempDir(), "galleon-store-", random_hex(8));
    options_.url = cluster_->url(database_);
    options_.data = folder_ + "/data";
    options_.advertise = "alpha:7070";
    options_.clock = &clock_;
    options_.lease = absl::Milliseconds(600);
    options_.on_over = [this](const absl::Status& status) {
      EXPECT_TRUE(is_term_over(status)) << status;
      ++over_;
    };
  }
  static void TearDownTestSuite() { cluster_.reset(); }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  // In a term of its own, once nobody else writes; of one that still does the lease is ended, as often as it renews it.
  std::unique_ptr<Journal> take_over() { return take(true); }
  std::unique_ptr<Journal> take(bool over_others = false) {
    absl::StatusOr<std::unique_ptr<SharedStore>> store = open_shared_store(options_);
    EXPECT_TRUE(store.ok()) << store.status();
    if (!store.ok()) return nullptr;
    absl::StatusOr<std::unique_ptr<Journal>> journal = absl::UnknownError("not yet");
    EXPECT_TRUE(eventually([&] {
      if (over_others) let_lease_end();
      const absl::StatusOr<SharedStore::Standing> seen = (*store)->look();
      if (!seen.ok() || !seen->free) return false;
      journal = (*store)->take(*seen);
      return journal.ok();
    })) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  absl::Status refused() { return open_shared_store(options_).status(); }
  std::string sql(const std::string& statement) {
    const CommandResult result = cluster_->sql(statement, database_);
    EXPECT_EQ(result.exit.code, 0) << result.err;
    return result.out;
  }
  // What a writer that is stopped for longer than its lease looks like to the others.
  void let_lease_end() {
    sql(absl::StrCat("UPDATE galleon.writer SET lease_until = '-infinity'",
                     keep_connections_ ? ", backends = '{}'" : ""));
  }

  // What the store calls its clock is so far ahead of this machine's: a function of that name is found first.
  void move_database_clock(absl::string_view ahead) {
    sql(absl::StrCat(
        "CREATE SCHEMA IF NOT EXISTS galleon_test; "
        "CREATE TABLE IF NOT EXISTS galleon_test.clock (ahead interval); DELETE FROM galleon_test.clock; "
        "INSERT INTO galleon_test.clock VALUES ('",
        ahead,
        "'); CREATE OR REPLACE FUNCTION galleon_test.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM galleon_test.clock'; ALTER DATABASE ",
        database_, " SET search_path = galleon_test, pg_catalog"));
  }

  SystemClock clock_;
  static inline std::unique_ptr<PostgresCluster> cluster_;
  std::string database_, folder_;
  SharedStoreOptions options_;
  bool keep_connections_ = false;  // who takes over does not find those of the one before
  std::atomic<int> over_{0};
};

}  // namespace galleon::server
