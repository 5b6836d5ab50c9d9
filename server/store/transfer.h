// A state moved from one store into another while no scheduler works on either: into a file, and from a file.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/shared_store.h"
#include "server/store/stored_rows.h"

namespace galleon::server {

struct Transferred {
  StoredSummary rows;
  size_t jobs = 0;
};

// Writes what the store holds (`url` empty: SQLite's in `data`) into a new file of SQLite's, and reads it again, as a
// scheduler would. ALREADY_EXISTS: the file is there, or a scheduler works on the store.
absl::StatusOr<Transferred> export_journal(const SharedStoreOptions& store, const std::string& file);

// Puts such a file, or a backup, into a database that holds none; with `replace` in the place of what it holds, which
// is kept in `data` as scheduler.replaced-SECONDS.db. Epochs go on far beyond those of the file. A journal of SQLite's
// in `data` is kept as scheduler.db.replaced-SECONDS; FAILED_PRECONDITION: without `replace`, the file does not hold
// what that one does.
absl::StatusOr<Transferred> import_journal(const SharedStoreOptions& store, const std::string& file, bool replace);

}  // namespace galleon::server
