#include "server/store/sqlite_journal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace galleon::server {

namespace {

constexpr int64_t kSchemaVersion = 1;
constexpr int64_t kApplicationId = 0x474c4e53;  // "GLNS"

// FNV-1a over the sequence number and the bytes: SQLite checks its own structure, this checks ours.
int64_t checksum(int64_t sequence, absl::string_view bytes) {
  uint64_t hash = 14695981039346656037ULL;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211ULL; };
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(sequence >> (8 * i)));
  for (const char c : bytes) mix(static_cast<unsigned char>(c));
  return static_cast<int64_t>(hash);
}

absl::string_view blob(sqlite3_stmt* row, int column) {
  const int size = sqlite3_column_bytes(row, column);
  return size == 0 ? absl::string_view()
                   : absl::string_view(static_cast<const char*>(sqlite3_column_blob(row, column)), size);
}

absl::StatusOr<FileDescriptor> lock_folder(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/lock");
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errno_status("cannot lock", path, errno);
    absl::StatusOr<std::string> holder = read_file(path);
    return absl::AlreadyExistsError(
        absl::StrCat("another scheduler", holder.ok() && !holder->empty() ? " (process " : "",
                     holder.ok() ? absl::StripSuffix(*holder, "\n") : "", holder.ok() && !holder->empty() ? ")" : "",
                     " works on ", folder, "; stop it first, or give this one another --data"));
  }
  const std::string pid = absl::StrCat(::getpid(), "\n");
  if (::ftruncate(file.get(), 0) != 0) return errno_status("cannot write", path, errno);
  if (absl::Status status = write_all(file.get(), pid); !status.ok()) return status;
  return file;
}

}  // namespace

void SqliteJournal::Closer::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}
void SqliteJournal::Closer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

SqliteJournal::~SqliteJournal() = default;

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::open(const std::string& folder) {
  if (absl::Status status = make_folders(folder); !status.ok()) return status;
  absl::StatusOr<FileDescriptor> lock = lock_folder(folder);
  if (!lock.ok()) return lock.status();
  const std::string path = absl::StrCat(folder, "/scheduler.db");
  const bool exists = ::access(path.c_str(), F_OK) == 0;
  sqlite3* raw = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<SqliteJournal> journal(new SqliteJournal(path, std::move(*lock), Database(raw)));
  if (opened != SQLITE_OK) return journal->error("cannot open");
  // Until the checks have passed, closing must not fold the write-ahead log into a file that will be refused.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  if (exists) {
    if (absl::Status status = journal->check(); !status.ok()) return status;
  }
  if (absl::Status status = journal->prepare(); !status.ok()) return status;
  sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
  if (absl::Status status = sync_folder(folder); !status.ok()) return status;
  return journal;
}

absl::Status SqliteJournal::error(absl::string_view what) const {
  const int code = database_ == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database_.get());
  const std::string message =
      absl::StrCat(what, " ", path_, ": ", database_ == nullptr ? "out of memory" : sqlite3_errmsg(database_.get()));
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) return damaged(sqlite3_errmsg(database_.get()));
  if (code == SQLITE_FULL) return absl::ResourceExhaustedError(message);
  if (code == SQLITE_PERM || code == SQLITE_READONLY || code == SQLITE_CANTOPEN)
    return absl::PermissionDeniedError(message);
  return absl::UnavailableError(message);
}

absl::Status SqliteJournal::damaged(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(path_, " is damaged (", what,
                                          ") and was left as it is; put back a copy of scheduler.db from before, ",
                                          "or move the file away to start with no jobs"));
}

absl::Status SqliteJournal::execute(const char* sql) {
  return sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK ? absl::OkStatus()
                                                                                    : error("cannot write");
}

absl::StatusOr<SqliteJournal::Statement> SqliteJournal::statement(const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(database_.get(), sql, -1, &raw, nullptr) != SQLITE_OK) return error("cannot use");
  return Statement(raw);
}

absl::StatusOr<int64_t> SqliteJournal::number(const char* sql) {
  absl::StatusOr<Statement> query = statement(sql);
  if (!query.ok()) return query.status();
  const int step = sqlite3_step(query->get());
  if (step == SQLITE_DONE) return 0;
  if (step != SQLITE_ROW) return error("cannot read");
  return sqlite3_column_int64(query->get(), 0);
}

absl::Status SqliteJournal::check() {
  absl::StatusOr<int64_t> version = number("PRAGMA user_version");
  if (!version.ok()) return version.status();
  absl::StatusOr<int64_t> application = number("PRAGMA application_id");
  if (!application.ok()) return application.status();
  absl::StatusOr<int64_t> tables = number("SELECT count(*) FROM sqlite_master");
  if (!tables.ok()) return tables.status();
  // A file that was created and never written to.
  if (*version == 0 && *application == 0 && *tables == 0) return absl::OkStatus();
  if (*application != kApplicationId) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " is a database of another program; give another --data"));
  }
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " was written by a newer Galleon (schema ", *version, ", this one reads up to ",
                     kSchemaVersion, ") and was left as it is; start that version, or give another --data"));
  }
  absl::StatusOr<Statement> query = statement("PRAGMA integrity_check(1)");
  if (!query.ok()) return query.status();
  if (sqlite3_step(query->get()) != SQLITE_ROW) return error("cannot check");
  const std::string verdict(reinterpret_cast<const char*>(sqlite3_column_text(query->get(), 0)));
  return verdict == "ok" ? absl::OkStatus() : damaged(verdict);
}

absl::Status SqliteJournal::prepare() {
  for (const char* sql : {
           "PRAGMA journal_mode = WAL",
           "PRAGMA synchronous = FULL",
           "BEGIN IMMEDIATE",
           "PRAGMA application_id = 0x474c4e53",
           "PRAGMA user_version = 1",
           "CREATE TABLE IF NOT EXISTS event (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT "
           "NULL)",
           "CREATE TABLE IF NOT EXISTS snapshot (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER "
           "NOT NULL)",
           "COMMIT",
       }) {
    if (absl::Status status = execute(sql); !status.ok()) return status;
  }
  absl::StatusOr<Statement> insert = statement("INSERT INTO event (sequence, body, checksum) VALUES (?, ?, ?)");
  if (!insert.ok()) return insert.status();
  insert_ = std::move(*insert);
  absl::StatusOr<int64_t> snapshot = number("SELECT coalesce(max(sequence), 0) FROM snapshot");
  if (!snapshot.ok()) return snapshot.status();
  absl::StatusOr<int64_t> last = number("SELECT coalesce(max(sequence), 0) FROM event");
  if (!last.ok()) return last.status();
  last_sequence_ = std::max(*snapshot, *last);
  events_since_snapshot_ = last_sequence_ - *snapshot;
  return absl::OkStatus();
}

absl::Status SqliteJournal::load(const std::function<void(const v1::StateSnapshot&)>& snapshot,
                                 const std::function<void(const v1::JournalEvent&)>& event) {
  int64_t sequence = 0;
  absl::StatusOr<Statement> newest =
      statement("SELECT sequence, body, checksum FROM snapshot ORDER BY sequence DESC LIMIT 1");
  if (!newest.ok()) return newest.status();
  int step = sqlite3_step(newest->get());
  if (step == SQLITE_ROW) {
    sequence = sqlite3_column_int64(newest->get(), 0);
    const absl::string_view body = blob(newest->get(), 1);
    v1::StateSnapshot stored;
    if (checksum(sequence, body) != sqlite3_column_int64(newest->get(), 2) ||
        !stored.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
      return damaged(absl::StrCat("snapshot ", sequence, " does not match its checksum"));
    }
    snapshot(stored);
  } else if (step != SQLITE_DONE) {
    return error("cannot read");
  }
  absl::StatusOr<Statement> events =
      statement("SELECT sequence, body, checksum FROM event WHERE sequence > ? ORDER BY sequence");
  if (!events.ok()) return events.status();
  sqlite3_bind_int64(events->get(), 1, sequence);
  v1::JournalEvent stored;
  while ((step = sqlite3_step(events->get())) == SQLITE_ROW) {
    const int64_t found = sqlite3_column_int64(events->get(), 0);
    if (found != sequence + 1) return damaged(absl::StrCat("event ", sequence + 1, " is missing"));
    sequence = found;
    const absl::string_view body = blob(events->get(), 1);
    if (checksum(sequence, body) != sqlite3_column_int64(events->get(), 2) ||
        !stored.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
      return damaged(absl::StrCat("event ", sequence, " does not match its checksum"));
    }
    event(stored);
  }
  return step == SQLITE_DONE ? absl::OkStatus() : error("cannot read");
}

absl::Status SqliteJournal::append(const std::vector<v1::JournalEvent>& events) {
  if (events.empty()) return absl::OkStatus();
  if (absl::Status status = execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  std::string body;
  for (const v1::JournalEvent& event : events) {
    event.SerializeToString(&body);
    const int64_t sequence = ++last_sequence_;
    sqlite3_bind_int64(insert_.get(), 1, sequence);
    sqlite3_bind_blob(insert_.get(), 2, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
    sqlite3_bind_int64(insert_.get(), 3, checksum(sequence, body));
    const int step = sqlite3_step(insert_.get());
    sqlite3_reset(insert_.get());
    if (step != SQLITE_DONE) return error("cannot write");
  }
  if (absl::Status status = execute("COMMIT"); !status.ok()) return status;
  events_since_snapshot_ += static_cast<int64_t>(events.size());
  return absl::OkStatus();
}

absl::Status SqliteJournal::compact(const v1::StateSnapshot& snapshot) {
  const absl::Status status = replace_events(snapshot.SerializeAsString());
  if (!status.ok()) {
    // The events are still there and still enough.
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }
  events_since_snapshot_ = 0;
  return absl::OkStatus();
}

absl::Status SqliteJournal::replace_events(const std::string& body) {
  absl::StatusOr<Statement> insert =
      statement("INSERT OR REPLACE INTO snapshot (sequence, body, checksum) VALUES (?, ?, ?)");
  if (!insert.ok()) return insert.status();
  if (absl::Status status = execute("BEGIN IMMEDIATE"); !status.ok()) return status;
  if (absl::Status status = execute("DELETE FROM snapshot"); !status.ok()) return status;
  sqlite3_bind_int64(insert->get(), 1, last_sequence_);
  if (sqlite3_bind_blob64(insert->get(), 2, body.data(), body.size(), SQLITE_STATIC) != SQLITE_OK)
    return error("cannot write");
  sqlite3_bind_int64(insert->get(), 3, checksum(last_sequence_, body));
  if (sqlite3_step(insert->get()) != SQLITE_DONE) return error("cannot write");
  sqlite3_reset(insert->get());
  if (absl::Status status = execute("DELETE FROM event"); !status.ok()) return status;
  return execute("COMMIT");
}

}  // namespace galleon::server
