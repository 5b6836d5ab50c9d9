#include "server/store/stored_rows.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "server/store/sqlite_schema.h"

namespace galleon::server {

namespace {

void mix(uint64_t& chain, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) chain = (chain ^ ((value >> shift) & 0xff)) * 1099511628211ULL;
}

std::string partial(const std::string& path) {
  return path + ".partial";
}

void remove_partial(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) ::unlink((partial(path) + suffix).c_str());
}

}  // namespace

absl::Status check_known(const v1::JournalEvent& event, int64_t sequence) {
  if (event.event_case() != v1::JournalEvent::EVENT_NOT_SET) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "event ", sequence, " of the journal is of a kind that this version does not know: it was written by ",
      "a newer Galleon, and was left as it is; start that version"));
}

void StoredSummary::add_snapshot(int64_t sequence) {
  snapshot = sequence;
  mix(chain, static_cast<uint64_t>(sequence));
}
void StoredSummary::add_part(int64_t kind, int64_t number, absl::string_view body) {
  ++parts;
  mix(chain, static_cast<uint64_t>(kind));
  mix(chain, static_cast<uint64_t>(checksum(number, body)));
}
void StoredSummary::add_event(int64_t sequence, absl::string_view body) {
  ++events;
  mix(chain, static_cast<uint64_t>(checksum(sequence, body)));
}
std::string StoredSummary::text() const {
  return absl::StrFormat("%d parts of the snapshot at %d, %d events, chain %016x", parts, snapshot, events, chain);
}

absl::Status read_file_rows(const std::string& path, const RowReader& reader) {
  if (::access(path.c_str(), R_OK) != 0) return errno_status("cannot read", path, errno);
  ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(path, SqliteDatabase::Mode::kReadOnly));
  RETURN_IF_ERROR(check_schema(database));
  ASSIGN_OR_RETURN(const int64_t version, database.number("PRAGMA user_version"));
  if (version != kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is of schema ", version, ", and ", kSchemaVersion,
                                                      " is read here; galleon-scheduler --export of that journal "
                                                      "writes one"));
  }
  ASSIGN_OR_RETURN(const int64_t snapshot, database.number("SELECT sequence FROM snapshot_sequence"));
  RETURN_IF_ERROR(reader.snapshot(snapshot));
  int step = SQLITE_DONE;
  ASSIGN_OR_RETURN(SqliteDatabase::Statement parts,
                   database.statement("SELECT kind, number, body, checksum FROM part ORDER BY kind, number"));
  while ((step = sqlite3_step(parts.get())) == SQLITE_ROW) {
    const int64_t number = sqlite3_column_int64(parts.get(), 1);
    const absl::string_view body = blob_column(parts.get(), 2);
    if (checksum(number, body) != sqlite3_column_int64(parts.get(), 3))
      return database.damaged(absl::StrCat("part ", number, " does not match its checksum"));
    RETURN_IF_ERROR(reader.part(sqlite3_column_int64(parts.get(), 0), number, body));
  }
  if (step != SQLITE_DONE) return database.error("cannot read");
  ASSIGN_OR_RETURN(SqliteDatabase::Statement events,
                   database.statement("SELECT sequence, body, checksum FROM event ORDER BY sequence"));
  int64_t sequence = snapshot;
  while ((step = sqlite3_step(events.get())) == SQLITE_ROW) {
    const int64_t found = sqlite3_column_int64(events.get(), 0);
    const absl::string_view body = blob_column(events.get(), 1);
    if (found != ++sequence) return database.damaged(absl::StrCat("event ", sequence, " is missing"));
    if (checksum(found, body) != sqlite3_column_int64(events.get(), 2))
      return database.damaged(absl::StrCat("event ", found, " does not match its checksum"));
    RETURN_IF_ERROR(reader.event(found, body));
  }
  return step == SQLITE_DONE ? absl::OkStatus() : database.error("cannot read");
}

absl::StatusOr<std::unique_ptr<RowFile>> RowFile::create(const std::string& path) {
  remove_partial(path);
  ASSIGN_OR_RETURN(SqliteDatabase database, SqliteDatabase::open(partial(path), SqliteDatabase::Mode::kReadWrite));
  RETURN_IF_ERROR(prepare_schema(database));
  std::unique_ptr<RowFile> file(new RowFile(path, std::move(database)));
  RETURN_IF_ERROR(file->database_->execute("BEGIN"));
  ASSIGN_OR_RETURN(file->part_,
                   file->database_->statement("INSERT INTO part (kind, number, body, checksum) VALUES (?, ?, ?, ?)"));
  ASSIGN_OR_RETURN(file->event_,
                   file->database_->statement("INSERT INTO event (sequence, body, checksum) VALUES (?, ?, ?)"));
  return file;
}

RowFile::~RowFile() {
  if (!database_) return;
  part_.reset();
  event_.reset();
  database_.reset();
  remove_partial(path_);
}

absl::Status RowFile::snapshot(int64_t sequence) {
  return database_->execute(absl::StrCat("UPDATE snapshot_sequence SET sequence = ", sequence));
}

absl::Status RowFile::part(int64_t kind, int64_t number, absl::string_view body) {
  sqlite3_bind_int64(part_.get(), 1, kind);
  sqlite3_bind_int64(part_.get(), 2, number);
  bind_blob(part_.get(), 3, body);
  sqlite3_bind_int64(part_.get(), 4, checksum(number, body));
  return database_->run(part_);
}

absl::Status RowFile::event(int64_t sequence, absl::string_view body) {
  sqlite3_bind_int64(event_.get(), 1, sequence);
  bind_blob(event_.get(), 2, body);
  sqlite3_bind_int64(event_.get(), 3, checksum(sequence, body));
  return database_->run(event_);
}

absl::Status RowFile::finish() {
  RETURN_IF_ERROR(database_->execute("COMMIT"));
  part_.reset();
  event_.reset();
  database_.reset();
  const auto appear = [&]() -> absl::Status {
    FileDescriptor file(::open(partial(path_).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid() || ::fsync(file.get()) != 0) return errno_status("cannot write", path_, errno);
    if (::rename(partial(path_).c_str(), path_.c_str()) != 0) return errno_status("cannot write", path_, errno);
    return sync_folder(std::filesystem::absolute(path_).parent_path().string());
  };
  absl::Status status = appear();
  if (!status.ok()) remove_partial(path_);
  return status;
}

}  // namespace galleon::server
