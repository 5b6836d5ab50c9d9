#include "server/store/sqlite_journal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "server/store/backup.h"
#include "server/store/sqlite_schema.h"
#include "server/store/stored_rows.h"

namespace galleon::server {

namespace {

// SQLite takes a file of no bytes for a new database, and another file's write-ahead log for its own. A journal is
// never either: it appears with its tables in it, so that what is found empty was not left so by a scheduler.
absl::Status make_if_absent(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status found = std::filesystem::status(path, error);
  if (found.type() == std::filesystem::file_type::none)
    return absl::PermissionDeniedError(absl::StrCat("cannot look at ", path, ": ", error.message()));
  if (std::filesystem::exists(found)) {
    if (!std::filesystem::is_regular_file(found))
      return absl::FailedPreconditionError(absl::StrCat(path, " is not a file; give another --data"));
    if (std::filesystem::file_size(path, error) != 0 || error) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(path, " has 0 bytes: it is no journal of a scheduler, whatever emptied it; ",
                     "galleon-scheduler --data DIR --restore BACKUP puts a backup in its place, or move it away, with ",
                     path, "-wal if there is one, to start with no jobs"));
  }
  if (std::filesystem::exists(path + "-wal", error)) {
    return absl::DataLossError(absl::StrCat(path, " is not there, but ", path,
                                            "-wal is, which holds its newest entries; put the file back beside it, or "
                                            "move that one away too to start with no jobs"));
  }
  const std::string fresh = path + ".new";
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) std::filesystem::remove(fresh + suffix, error);
  {
    ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(fresh, SqliteDatabase::Mode::kReadWrite));
    RETURN_IF_ERROR(database.execute("PRAGMA synchronous = FULL"));
    RETURN_IF_ERROR(prepare_schema(database));
  }
  std::filesystem::rename(fresh, path, error);
  return error ? absl::UnavailableError(absl::StrCat("cannot make ", path, ": ", error.message())) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<FileDescriptor> SqliteJournal::lock(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/lock");
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_status("cannot lock", path, errno);
    absl::StatusOr<std::string> holder = read_file(path);
    const std::string who =
        holder.ok() && !holder->empty() ? absl::StrCat(" (process ", absl::StripSuffix(*holder, "\n"), ")") : "";
    return absl::AlreadyExistsError(absl::StrCat("another scheduler", who, " works on ", folder,
                                                 "; stop it first, or give this one another --data"));
  }
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(file.get(), 0) != 0) return errno_status("cannot write", path, errno);
  RETURN_IF_ERROR(write_all(file.get(), pid));
  return file;
}

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::open(const std::string& folder) {
  RETURN_IF_ERROR(make_folders(folder));
  ASSIGN_OR_RETURN(FileDescriptor held, lock(folder));
  const std::string path = absl::StrCat(folder, "/scheduler.db");
  RETURN_IF_ERROR(make_if_absent(path));
  ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(path, SqliteDatabase::Mode::kReadWrite));
  // Until the checks have passed, closing must not fold the write-ahead log into a file that will be refused.
  sqlite3_db_config(database.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  RETURN_IF_ERROR(check_schema(database));
  std::unique_ptr<SqliteJournal> journal(new SqliteJournal(std::move(held), std::move(database)));
  RETURN_IF_ERROR(journal->prepare());
  ASSIGN_OR_RETURN(Acknowledged acknowledged, Acknowledged::open(folder));
  RETURN_IF_ERROR(acknowledged.check(journal->last_sequence_));
  journal->acknowledged_ = std::move(acknowledged);
  sqlite3_db_config(journal->database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
  RETURN_IF_ERROR(sync_folder(folder));
  return journal;
}

absl::Status SqliteJournal::prepare() {
  for (const char* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"}) {
    RETURN_IF_ERROR(database_.execute(sql));
  }
  RETURN_IF_ERROR(prepare_schema(database_));
  const std::pair<SqliteDatabase::Statement*, const char*> statements[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&insert_, "INSERT INTO event (sequence, body, checksum) VALUES (?, ?, ?)"},
      {&put_, "INSERT OR REPLACE INTO part (kind, number, body, checksum) VALUES (?, ?, ?, ?)"},
  };
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(SqliteDatabase::Statement made, database_.statement(sql));
    *statement = std::move(made);
  }
  ASSIGN_OR_RETURN(int64_t snapshot, database_.number("SELECT sequence FROM snapshot_sequence"));
  ASSIGN_OR_RETURN(int64_t last, database_.number("SELECT coalesce(max(sequence), 0) FROM event"));
  last_sequence_ = std::max(snapshot, last);
  events_since_snapshot_ = last_sequence_ - snapshot;
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SqliteJournal::load_parts(const Recovery& recovery) {
  ASSIGN_OR_RETURN(int64_t sequence, database_.number("SELECT sequence FROM snapshot_sequence"));
  ASSIGN_OR_RETURN(SqliteDatabase::Statement parts,
                   database_.statement("SELECT kind, number, body, checksum FROM part ORDER BY kind, number"));
  int step = SQLITE_DONE;
  bool head = false;
  while ((step = sqlite3_step(parts.get())) == SQLITE_ROW) {
    const int kind = sqlite3_column_int(parts.get(), 0);
    const int64_t number = sqlite3_column_int64(parts.get(), 1);
    const absl::string_view body = blob_column(parts.get(), 2);
    bool whole = checksum(number, body) == sqlite3_column_int64(parts.get(), 3);
    if (whole && kind == kHeadPart) {
      v1::StateSnapshot snapshot;
      whole = snapshot.ParseFromArray(body.data(), static_cast<int>(body.size()));
      if (whole) recovery.head(snapshot);
      head = true;
    } else if (whole) {
      whole = head && recovery.job(body);
    }
    if (!whole) return database_.damaged(absl::StrCat("part ", kind, "/", number, " does not match its checksum"));
  }
  if (step != SQLITE_DONE) return database_.error("cannot read");
  if (sequence > 0 && !head) return database_.damaged("the head of the snapshot is missing");
  return sequence;
}

absl::Status SqliteJournal::load(const Recovery& recovery) {
  ASSIGN_OR_RETURN(int64_t snapshot, load_parts(recovery));
  int64_t sequence = snapshot;
  ASSIGN_OR_RETURN(
      SqliteDatabase::Statement events,
      database_.statement("SELECT sequence, body, checksum FROM event WHERE sequence > ? ORDER BY sequence"));
  sqlite3_bind_int64(events.get(), 1, sequence);
  v1::JournalEvent stored;
  int step = SQLITE_DONE;
  while ((step = sqlite3_step(events.get())) == SQLITE_ROW) {
    const int64_t found = sqlite3_column_int64(events.get(), 0);
    if (found != sequence + 1) return database_.damaged(absl::StrCat("event ", sequence + 1, " is missing"));
    sequence = found;
    const absl::string_view body = blob_column(events.get(), 1);
    if (checksum(sequence, body) != sqlite3_column_int64(events.get(), 2) ||
        !stored.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
      return database_.damaged(absl::StrCat("event ", sequence, " does not match its checksum"));
    }
    RETURN_IF_ERROR(check_known(stored, sequence));
    recovery.event(stored);
  }
  return step == SQLITE_DONE ? absl::OkStatus() : database_.error("cannot read");
}

absl::Status SqliteJournal::append(const std::vector<v1::JournalEvent>& events) {
  if (events.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(database_.run(begin_));
  for (const v1::JournalEvent& event : events) {
    event.SerializeToString(&buffer_);
    const int64_t sequence = ++last_sequence_;
    sqlite3_bind_int64(insert_.get(), 1, sequence);
    bind_blob(insert_.get(), 2, buffer_);
    sqlite3_bind_int64(insert_.get(), 3, checksum(sequence, buffer_));
    RETURN_IF_ERROR(database_.run(insert_));
  }
  RETURN_IF_ERROR(database_.run(commit_));
  events_since_snapshot_ += static_cast<int64_t>(events.size());
  // Where it cannot be written it stays behind, which loses nothing.
  (void)acknowledged_->set(last_sequence_);
  return absl::OkStatus();
}

absl::Status SqliteJournal::compact(const SnapshotChange& change) {
  RETURN_IF_ERROR(database_.run(begin_));
  if (absl::Status status = write_parts(change); !status.ok()) {
    // The events are still there and still enough.
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }
  events_since_snapshot_ = 0;
  return absl::OkStatus();
}

absl::Status SqliteJournal::write_parts(const SnapshotChange& change) {
  RETURN_IF_ERROR(put_part(kHeadPart, 0, change.head.SerializeAsString()));
  for (const uint64_t number : change.jobs)
    RETURN_IF_ERROR(put_part(kJobPart, static_cast<int64_t>(number), change.body(number)));
  for (const uint64_t number : change.removed) {
    if (absl::Status status =
            database_.execute(absl::StrCat("DELETE FROM part WHERE kind = ", kJobPart, " AND number = ", number));
        !status.ok()) {
      return status;
    }
  }
  if (absl::Status status = database_.execute(
          absl::StrCat("UPDATE snapshot_sequence SET sequence = ", last_sequence_, "; DELETE FROM event"));
      !status.ok()) {
    return status;
  }
  return database_.run(commit_);
}

absl::Status SqliteJournal::put_part(int kind, int64_t number, absl::string_view body) {
  sqlite3_bind_int(put_.get(), 1, kind);
  sqlite3_bind_int64(put_.get(), 2, number);
  bind_blob(put_.get(), 3, body);
  sqlite3_bind_int64(put_.get(), 4, checksum(number, body));
  return database_.run(put_);
}

absl::Status SqliteJournal::backup(const std::string& path) const {
  return copy_database(database_.path(), path);
}

}  // namespace galleon::server
