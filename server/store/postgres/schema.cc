#include "server/store/postgres/schema.h"

#include <filesystem>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"

namespace galleon::server {

namespace {

constexpr int64_t kSchemaLock = 0x474c4e53;  // "GLNS", of pg_advisory_xact_lock
constexpr int kOldestServer = 120000;

constexpr const char* kTables[] = {
    "CREATE SCHEMA galleon",
    "CREATE TABLE galleon.store (id int PRIMARY KEY CHECK (id = 0), schema_version bigint NOT NULL, cluster text NOT "
    "NULL)",
    // Changed at every renewal: room on its page keeps it there.
    "CREATE TABLE galleon.writer (id int PRIMARY KEY CHECK (id = 0), term bigint NOT NULL, holder text NOT NULL, "
    "advertise text NOT NULL, backends bigint[] NOT NULL, lease_until timestamptz NOT NULL, lease_ms bigint NOT NULL) "
    "WITH (fillfactor = 10)",
    "INSERT INTO galleon.writer VALUES (0, 0, '', '', '{}', '-infinity', 0)",
    "CREATE TABLE galleon.event (sequence bigint PRIMARY KEY, term bigint NOT NULL, body bytea NOT NULL, checksum "
    "bigint NOT NULL)",
    "CREATE TABLE galleon.part (kind bigint NOT NULL, number bigint NOT NULL, body bytea NOT NULL, checksum bigint NOT "
    "NULL, PRIMARY KEY (kind, number))",
    "CREATE TABLE galleon.snapshot_sequence (id int PRIMARY KEY CHECK (id = 0), sequence bigint NOT NULL)",
    "INSERT INTO galleon.snapshot_sequence VALUES (0, 0)",
};

// DATA/scheduler.cluster: the cluster's name, and " new" while its tables may not be there yet.
struct ClusterFile {
  std::string path;
  std::string name;
  bool fresh = false;

  absl::Status write() const { return write_file_durably(path, absl::StrCat(name, fresh ? " new\n" : "\n")); }
};

absl::StatusOr<ClusterFile> read_cluster_file(const std::string& data) {
  ClusterFile file{absl::StrCat(data, "/scheduler.cluster"), "", false};
  absl::StatusOr<std::string> text = read_file(file.path);
  if (!text.ok()) {
    if (text.status().code() == absl::StatusCode::kNotFound) return file;
    return text.status();
  }
  absl::string_view name = absl::StripAsciiWhitespace(*text);
  file.fresh = absl::EndsWith(name, " new");
  if (file.fresh) name.remove_suffix(4);
  file.name = std::string(name);
  return file;
}

// Nothing is returned: they are to be looked at again, and the file confirmed, under another lock.
absl::StatusOr<std::string> make_tables(PostgresConnection& connection, ClusterFile file, absl::Duration until) {
  const std::string journal = std::filesystem::path(file.path).parent_path().string() + "/scheduler.db";
  if (!file.name.empty() && !file.fresh) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", connection.place(), " holds no journal, and ", file.path, " says that there was one, of cluster ",
        file.name, ": it is another database, or was emptied; give the right one, restore it, or remove that file to ",
        "start with no jobs"));
  }
  if (std::filesystem::exists(journal)) {
    return absl::FailedPreconditionError(
        absl::StrCat(journal, " is a journal of SQLite, and the ", connection.place(),
                     " holds none: move it there (--export without --store, "
                     "then --import with it), or move the file away to start with no jobs"));
  }
  if (file.name.empty()) file.name = random_hex(16);
  file.fresh = true;
  RETURN_IF_ERROR(file.write());
  std::vector<Command> commands;
  for (const char* sql : kTables) commands.push_back({sql, {}});
  commands.push_back({"INSERT INTO galleon.store VALUES (0, $1, $2)",
                      {Parameter::number(kPostgresSchemaVersion), Parameter::text(file.name)}});
  RETURN_IF_ERROR(connection.pipeline(commands, until).status());
  RETURN_IF_ERROR(connection.query("COMMIT", {}, until).status());
  return "";
}

absl::StatusOr<std::string> check_tables(PostgresConnection& connection, ClusterFile file, absl::Duration until) {
  ASSIGN_OR_RETURN(const Rows known, connection.query("SELECT to_regclass('galleon.store') IS NOT NULL", {}, until));
  if (!known.flag(0, 0)) {
    return absl::FailedPreconditionError(absl::StrCat("the schema \"galleon\" of the ", connection.place(),
                                                      " is another program's; give another database"));
  }
  ASSIGN_OR_RETURN(const Rows store, connection.query("SELECT schema_version, cluster FROM galleon.store", {}, until));
  if (store.count() != 1) return absl::DataLossError("galleon.store has not one row");
  const int64_t version = store.number(0, 0);
  if (version > kPostgresSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the journal in the ", connection.place(), " was written by a newer Galleon (schema ", version,
                     ", this one reads up to ", kPostgresSchemaVersion, ") and was left as it is; start that version"));
  }
  if (version < kPostgresSchemaVersion) {
    RETURN_IF_ERROR(
        connection
            .query("UPDATE galleon.store SET schema_version = $1", {Parameter::number(kPostgresSchemaVersion)}, until)
            .status());
  }
  const std::string cluster(store.bytes(0, 1));
  if (file.name != cluster) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the journal in the ", connection.place(), " is of cluster ", cluster, ", and ",
        file.name.empty() ? absl::StrCat("there is no ", file.path) : absl::StrCat(file.path, " is of ", file.name),
        ": give the --data that its other schedulers share, or, where that is lost, write ", cluster, " into ",
        file.path));
  }
  if (file.fresh) {
    file.fresh = false;
    RETURN_IF_ERROR(file.write());
  }
  RETURN_IF_ERROR(connection.query("COMMIT", {}, until).status());
  return cluster;
}

}  // namespace

absl::Status check_session(PostgresConnection& connection, absl::Duration until) {
  if (connection.server_version() < kOldestServer) {
    return absl::FailedPreconditionError(absl::StrCat("the ", connection.place(), " is PostgreSQL ",
                                                      connection.server_version() / 10000, "; 12 or newer is needed"));
  }
  ASSIGN_OR_RETURN(
      const Rows found,
      connection.query(
          "SELECT pg_is_in_recovery(), current_setting('synchronous_commit'), current_setting('fsync'), "
          "current_setting('synchronous_standby_names'), current_setting('default_transaction_isolation'), "
          "current_setting('default_transaction_read_only')",
          {}, until));
  if (found.flag(0, 0)) {
    return absl::UnavailableError(absl::StrCat("the ", connection.place(),
                                               " is a standby, which only reads: name the primary, or all of them with "
                                               "target_session_attrs=read-write"));
  }
  const auto refuse = [&](absl::string_view what, absl::string_view why, absl::string_view fix) {
    return absl::FailedPreconditionError(absl::StrCat("the ", connection.place(), " has ", what, ", ", why, "; ", fix));
  };
  const absl::string_view commit = found.bytes(0, 1);
  if (commit == "off") {
    return refuse("synchronous_commit = off", "so that a job could be lost that was acknowledged",
                  "ALTER DATABASE … SET synchronous_commit = on");
  }
  if (commit == "local" && !found.bytes(0, 3).empty()) {
    return refuse("synchronous_commit = local beside synchronous_standby_names",
                  "so that a failover could lose a job that was acknowledged",
                  "ALTER DATABASE … SET synchronous_commit = on");
  }
  if (found.bytes(0, 2) == "off") {
    return refuse("fsync = off", "so that a power cut could lose or damage everything",
                  "set fsync = on in its postgresql.conf");
  }
  if (found.bytes(0, 4) != "read committed") {
    return refuse(absl::StrCat("default_transaction_isolation = ", found.bytes(0, 4)),
                  "and \"read committed\" is what the journal is written with",
                  "ALTER DATABASE … SET default_transaction_isolation = 'read committed'");
  }
  if (found.bytes(0, 5) == "on") {
    return refuse("default_transaction_read_only = on", "so that nothing can be written",
                  "ALTER DATABASE … SET default_transaction_read_only = off");
  }
  // Who is stopped in the middle of a transaction keeps nothing from the others for long. A snapshot may take longer
  // than what a role or a database gives each statement; every wait here has an end of its own.
  return connection
      .pipeline({{"SET lock_timeout = '2s'", {}},
                 {"SET idle_in_transaction_session_timeout = '10s'", {}},
                 {"SET statement_timeout = 0", {}}},
                until)
      .status();
}

absl::Status check_pooler(PostgresConnection& connection,
                          const std::function<absl::StatusOr<std::unique_ptr<PostgresConnection>>()>& connect,
                          absl::Duration until) {
  const auto session = [until](PostgresConnection& of) -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(const Rows row, of.query("SELECT pg_backend_pid()::bigint", {}, until));
    return row.number(0, 0);
  };
  ASSIGN_OR_RETURN(int64_t mine, session(connection));
  if (mine == connection.backend()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> other, connect());
  // The session that was used last is the first that a pooler gives away.
  ASSIGN_OR_RETURN(mine, session(connection));
  RETURN_IF_ERROR(other->query("BEGIN", {}, until).status());
  ASSIGN_OR_RETURN(const int64_t theirs, session(*other));
  ASSIGN_OR_RETURN(const int64_t now_mine, session(connection));
  RETURN_IF_ERROR(other->query("COMMIT", {}, until).status());
  if (theirs != mine && now_mine == mine) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the ", connection.place(), " is behind a pooler that gives each transaction another session; let it ",
      "pool by sessions (pgbouncer: pool_mode = session), or name the server itself"));
}

absl::StatusOr<std::string> prepare_database(PostgresConnection& connection, const std::string& data,
                                             absl::Duration until) {
  RETURN_IF_ERROR(make_folders(data));
  RETURN_IF_ERROR(connection
                      .pipeline({{"BEGIN", {}},
                                 {"SET LOCAL lock_timeout = 0", {}},
                                 {"SELECT pg_advisory_xact_lock($1)", {Parameter::number(kSchemaLock)}}},
                                until)
                      .status());
  const auto prepared = [&]() -> absl::StatusOr<std::string> {
    // After the lock: another scheduler on the same folder may just have made both.
    ASSIGN_OR_RETURN(ClusterFile file, read_cluster_file(data));
    ASSIGN_OR_RETURN(const Rows there, connection.query("SELECT to_regnamespace('galleon') IS NOT NULL", {}, until));
    return there.flag(0, 0) ? check_tables(connection, std::move(file), until)
                            : make_tables(connection, std::move(file), until);
  };
  absl::StatusOr<std::string> cluster = prepared();
  if (!cluster.ok()) (void)connection.query("ROLLBACK", {}, until);
  return cluster.ok() && cluster->empty() ? prepare_database(connection, data, until) : cluster;
}

}  // namespace galleon::server
