// The journal in one SQLite file (write-ahead log, every commit flushed to the disk). It owns its data folder while it
// is open.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "server/store/journal.h"

struct sqlite3;
struct sqlite3_stmt;

namespace galleon::server {

class SqliteJournal final : public Journal {
 public:
  // Opens or creates FOLDER/scheduler.db. ALREADY_EXISTS: another scheduler works on the folder. DATA_LOSS: the file is
  // damaged. FAILED_PRECONDITION: a newer Galleon or another program wrote it. A file that is refused is left as it is.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> open(const std::string& folder);
  ~SqliteJournal() override;

  absl::Status load(const std::function<void(const v1::StateSnapshot&)>& snapshot,
                    const std::function<void(const v1::JournalEvent&)>& event) override;
  absl::Status append(const std::vector<v1::JournalEvent>& events) override;
  absl::Status compact(const v1::StateSnapshot& snapshot) override;
  int64_t events_since_snapshot() const override { return events_since_snapshot_; }

 private:
  struct Closer {
    void operator()(sqlite3* database) const;
    void operator()(sqlite3_stmt* statement) const;
  };
  using Database = std::unique_ptr<sqlite3, Closer>;
  using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

  SqliteJournal(std::string path, FileDescriptor lock, Database database)
      : path_(std::move(path)), lock_(std::move(lock)), database_(std::move(database)) {}

  absl::Status check();
  absl::Status prepare();
  absl::Status replace_events(const std::string& body);
  absl::Status execute(const char* sql);
  absl::StatusOr<int64_t> number(const char* sql);
  absl::StatusOr<Statement> statement(const char* sql);
  absl::Status error(absl::string_view what) const;
  absl::Status damaged(absl::string_view what) const;

  const std::string path_;
  FileDescriptor lock_;  // outlives the database
  Database database_;
  Statement insert_;
  int64_t last_sequence_ = 0;
  int64_t events_since_snapshot_ = 0;
};

}  // namespace galleon::server
