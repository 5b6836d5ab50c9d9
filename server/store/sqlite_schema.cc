#include "server/store/sqlite_schema.h"

#include <sqlite3.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "galleon/v1/journal.pb.h"
#include "server/store/backup.h"

namespace galleon::server {

namespace {

constexpr int64_t kApplicationId = 0x474c4e53;  // "GLNS"

constexpr char kTables[] =
    "CREATE TABLE event (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, checksum INTEGER NOT NULL);"
    "CREATE TABLE part (kind INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL, "
    "PRIMARY KEY (kind, number)) WITHOUT ROWID;"
    "CREATE TABLE snapshot_sequence (id INTEGER PRIMARY KEY CHECK (id = 0), sequence INTEGER NOT NULL);"
    "INSERT INTO snapshot_sequence VALUES (0, 0);";

absl::Status put_part(SqliteDatabase& database, int kind, int64_t number, const std::string& body) {
  ASSIGN_OR_RETURN(SqliteDatabase::Statement insert,
                   database.statement("INSERT INTO part (kind, number, body, checksum) VALUES (?, ?, ?, ?)"));
  sqlite3_bind_int(insert.get(), 1, kind);
  sqlite3_bind_int64(insert.get(), 2, number);
  bind_blob(insert.get(), 3, body);
  sqlite3_bind_int64(insert.get(), 4, checksum(number, body));
  return database.run(insert);
}

// Version 1 kept the snapshot in one piece, which had to be written whole each time.
absl::Status split_snapshot(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(SqliteDatabase::Statement newest,
                   database.statement("SELECT sequence, body, checksum FROM snapshot ORDER BY sequence DESC LIMIT 1"));
  const int step = sqlite3_step(newest.get());
  if (step != SQLITE_ROW && step != SQLITE_DONE) return database.error("cannot read");
  int64_t sequence = 0;
  v1::StateSnapshot snapshot;
  if (step == SQLITE_ROW) {
    sequence = sqlite3_column_int64(newest.get(), 0);
    const absl::string_view body = blob_column(newest.get(), 1);
    if (checksum(sequence, body) != sqlite3_column_int64(newest.get(), 2) ||
        !snapshot.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
      return database.damaged(absl::StrCat("snapshot ", sequence, " does not match its checksum"));
    }
  }
  newest.reset();
  if (absl::Status status = database.execute(absl::StrCat("ALTER TABLE event RENAME TO old_event;", kTables,
                                                          "INSERT INTO event SELECT * FROM old_event;"
                                                          "DROP TABLE old_event; DROP TABLE snapshot;"
                                                          "UPDATE snapshot_sequence SET sequence = ",
                                                          sequence));
      !status.ok()) {
    return status;
  }
  if (step == SQLITE_DONE) return absl::OkStatus();
  for (const v1::JobState& job : snapshot.jobs()) {
    if (absl::Status status = put_part(database, kJobPart, static_cast<int64_t>(job.number()), job.SerializeAsString());
        !status.ok()) {
      return status;
    }
  }
  snapshot.clear_jobs();
  return put_part(database, kHeadPart, 0, snapshot.SerializeAsString());
}

absl::Status migrate(SqliteDatabase& database, int64_t from) {
  if (from == 0) return database.execute(kTables);
  if (from == 1) return split_snapshot(database);
  return absl::OkStatus();
}

}  // namespace

int64_t checksum(int64_t number, absl::string_view bytes) {
  uint64_t hash = 14695981039346656037ULL;
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211ULL; };
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(number >> (8 * i)));
  for (const char c : bytes) mix(static_cast<unsigned char>(c));
  return static_cast<int64_t>(hash);
}

absl::Status check_schema(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(int64_t version, database.number("PRAGMA user_version"));
  ASSIGN_OR_RETURN(int64_t application, database.number("PRAGMA application_id"));
  if (application != kApplicationId) {
    return absl::FailedPreconditionError(
        absl::StrCat(database.path(), " is a database of another program; give another --data"));
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(database.path(), " was written by a newer Galleon (schema ", version, ", this one reads up to ",
                     kSchemaVersion, ") and was left as it is; start that version, or give another --data"));
  }
  return database.check_integrity();
}

absl::Status prepare_schema(SqliteDatabase& database) {
  ASSIGN_OR_RETURN(int64_t version, database.number("PRAGMA user_version"));
  if (version == kSchemaVersion) return absl::OkStatus();
  if (version > 0) {
    const std::string kept = absl::StrCat(database.path(), ".schema-", version);
    RETURN_IF_ERROR(copy_database(database.path(), kept));
  }
  RETURN_IF_ERROR(database.execute("BEGIN IMMEDIATE"));
  absl::Status status = migrate(database, version);
  if (status.ok()) {
    status = database.execute(absl::StrCat("PRAGMA application_id = ", kApplicationId,
                                           "; PRAGMA user_version = ", kSchemaVersion, "; COMMIT"));
  }
  if (!status.ok()) (void)database.execute("ROLLBACK");
  return status;
}

}  // namespace galleon::server
