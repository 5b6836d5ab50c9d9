#include "server/store/sqlite_database.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace galleon::server {

void SqliteDatabase::Closer::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}
void SqliteDatabase::Closer::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

absl::StatusOr<SqliteDatabase> SqliteDatabase::open(const std::string& path, Mode mode) {
  const int flags = (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
                    SQLITE_OPEN_NOMUTEX;
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  SqliteDatabase database(path, raw);
  if (opened != SQLITE_OK) return database.error("cannot open");
  sqlite3_busy_timeout(raw, 10'000);
  return database;
}

absl::Status SqliteDatabase::error(absl::string_view what) const {
  if (database_ == nullptr) return absl::UnavailableError(absl::StrCat(what, " ", path_, ": out of memory"));
  const std::string message = absl::StrCat(what, " ", path_, ": ", sqlite3_errmsg(database_.get()));
  switch (sqlite3_errcode(database_.get())) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(sqlite3_errmsg(database_.get()));
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(message);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::Status SqliteDatabase::damaged(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, " is damaged (", what,
                   ") and was left as it is; galleon-scheduler --data DIR --restore BACKUP puts a backup ",
                   "in its place, or move the file away to start with no jobs"));
}

absl::Status SqliteDatabase::execute(const std::string& sql) {
  return sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK ? absl::OkStatus()
                                                                                            : error("cannot use");
}

absl::StatusOr<SqliteDatabase::Statement> SqliteDatabase::statement(const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(database_.get(), sql, -1, &raw, nullptr) != SQLITE_OK) return error("cannot use");
  return Statement(raw);
}

absl::StatusOr<int64_t> SqliteDatabase::number(const char* sql) {
  ASSIGN_OR_RETURN(Statement query, statement(sql));
  const int step = sqlite3_step(query.get());
  if (step == SQLITE_DONE) return 0;
  if (step != SQLITE_ROW) return error("cannot read");
  return sqlite3_column_int64(query.get(), 0);
}

absl::Status SqliteDatabase::run(const Statement& statement) {
  const int step = sqlite3_step(statement.get());
  sqlite3_reset(statement.get());
  return step == SQLITE_DONE ? absl::OkStatus() : error("cannot write");
}

absl::Status SqliteDatabase::check_integrity() {
  ASSIGN_OR_RETURN(Statement query, statement("PRAGMA integrity_check(1)"));
  if (sqlite3_step(query.get()) != SQLITE_ROW) return error("cannot check");
  const std::string verdict(reinterpret_cast<const char*>(sqlite3_column_text(query.get(), 0)));
  return verdict == "ok" ? absl::OkStatus() : damaged(verdict);
}

absl::string_view blob_column(sqlite3_stmt* row, int column) {
  const int size = sqlite3_column_bytes(row, column);
  return size == 0 ? absl::string_view()
                   : absl::string_view(static_cast<const char*>(sqlite3_column_blob(row, column)), size);
}

void bind_blob(sqlite3_stmt* statement, int parameter, absl::string_view bytes) {
  sqlite3_bind_blob64(statement, parameter, bytes.data(), bytes.size(), SQLITE_STATIC);
}

}  // namespace galleon::server
