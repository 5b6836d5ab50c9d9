// The tables of the journal in a database, their versions, whose they are, and what a database has to promise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/store/postgres/connection.h"

namespace galleon::server {

// Version 2, in the schema "galleon":
//   store(schema_version, cluster)         whose it is
//   writer(term, holder, advertise, backends, lease_until, lease_ms)  one row: who writes, by the database's clock
//   event, part, snapshot_sequence         as in SQLite (server/store/sqlite_schema.h); an event carries its term too,
//                                          and those since the snapshot before the newest are there as well
// In version 1 there were none that the newest snapshot stands for.
inline constexpr int64_t kPostgresSchemaVersion = 2;

// FAILED_PRECONDITION names a setting under which an acknowledged job could be lost, or a transaction see what it must
// not, and how to change it. UNAVAILABLE: the server only reads, as a standby does until it is promoted.
absl::Status check_session(PostgresConnection& connection, absl::Duration until);

// FAILED_PRECONDITION: between here and the database is a pooler that gives each transaction another session, so that
// what is set for a session holds for others, and for this one not. `connect` makes a second connection.
absl::Status check_pooler(PostgresConnection& connection,
                          const std::function<absl::StatusOr<std::unique_ptr<PostgresConnection>>()>& connect,
                          absl::Duration until);

// Makes the tables if there are none, or brings those of an older version to this one, all of it or nothing, one
// scheduler at a time; and holds the cluster's name in the database against the one in `data`, which is written there
// when the tables are made. FAILED_PRECONDITION: they are not the same cluster's, or another's altogether.
absl::StatusOr<std::string> prepare_database(PostgresConnection& connection, const std::string& data,
                                             absl::Duration until);

}  // namespace galleon::server
