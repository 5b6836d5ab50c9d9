// The journal in one SQLite file (write-ahead log, every commit flushed to the disk). It owns its data folder while it
// is open.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "server/store/acknowledged.h"
#include "server/store/journal.h"
#include "server/store/sqlite_database.h"

namespace galleon::server {

class SqliteJournal final : public Journal {
 public:
  // Opens or creates FOLDER/scheduler.db. ALREADY_EXISTS: another scheduler works on the folder. DATA_LOSS: the file is
  // damaged, or ends before what was acknowledged. FAILED_PRECONDITION: a newer Galleon or another program wrote it. A
  // file that is refused is left as it is.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> open(const std::string& folder);
  // Held while it is open. ALREADY_EXISTS names who holds it.
  static absl::StatusOr<FileDescriptor> lock(const std::string& folder);

  absl::Status load(const Recovery& recovery) override;
  absl::Status append(const std::vector<v1::JournalEvent>& events) override;
  absl::Status compact(const SnapshotChange& change) override;
  absl::Status backup(const std::string& path) const override;
  int64_t events_since_snapshot() const override { return events_since_snapshot_; }

 private:
  SqliteJournal(FileDescriptor lock, SqliteDatabase database)
      : lock_(std::move(lock)), database_(std::move(database)) {}

  absl::Status prepare();
  absl::StatusOr<int64_t> load_parts(const Recovery& recovery);
  absl::Status write_parts(const SnapshotChange& change);
  absl::Status put_part(int kind, int64_t number, absl::string_view body);

  FileDescriptor lock_;  // outlives the database
  SqliteDatabase database_;
  std::optional<Acknowledged> acknowledged_;
  SqliteDatabase::Statement begin_;
  SqliteDatabase::Statement commit_;
  SqliteDatabase::Statement insert_;
  SqliteDatabase::Statement put_;
  int64_t last_sequence_ = 0;
  int64_t events_since_snapshot_ = 0;
  std::string buffer_;
};

}  // namespace galleon::server
