// The tables of the journal's file, their versions, and the way from each to the next.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/store/sqlite_database.h"

namespace galleon::server {

// Version 2:
//   event(sequence, body, checksum)  what happened after the snapshot, without a gap
//   part(kind, number, body, checksum)  the snapshot: its head (kind 0, number 0) and each job (kind 1, its number)
//   snapshot_sequence(sequence)         the last event that the snapshot stands for
inline constexpr int64_t kSchemaVersion = 2;
inline constexpr int kHeadPart = 0;
inline constexpr int kJobPart = 1;

// FNV-1a over a number and the bytes: SQLite checks its own structure, this checks ours.
int64_t checksum(int64_t number, absl::string_view bytes);

// Before anything is written: FAILED_PRECONDITION (another program's file, or a newer version), DATA_LOSS.
absl::Status check_schema(SqliteDatabase& database);
// Brings a checked file to kSchemaVersion, all of it or nothing. What an older file was is kept beside it, as
// PATH.schema-N.
absl::Status prepare_schema(SqliteDatabase& database);

}  // namespace galleon::server
