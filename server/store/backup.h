// Copies of the journal's file: made while it is in use, and put back.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "galleon/v1/journal.pb.h"
#include "server/core/state.h"

namespace galleon::server {

// Writes what a database holds at one moment to a new file, durable when it returns; readers and writers go on. A file
// that is there already is replaced. RESOURCE_EXHAUSTED: the disk is full, and nothing is left behind.
absl::Status copy_database(const std::string& from, const std::string& to);

struct Restored {
  size_t jobs = 0;
  std::string replaced;  // where the file that was there is now; empty: there was none
};

// Makes a backup the journal of a scheduler's data folder. The backup is read whole before anything is changed; the
// file in its place is kept under another name. Epochs go on far beyond those of the backup, so that nothing that was
// started after it can be taken for something new. ALREADY_EXISTS: a scheduler works on the folder. DATA_LOSS,
// FAILED_PRECONDITION: not a whole backup, or a newer one.
absl::StatusOr<Restored> restore_backup(const std::string& backup, const std::string& folder);

// What is written behind a state that was put back: epochs skip further than a scheduler gets between two backups.
v1::JournalEvent restored_event(const State& state);

}  // namespace galleon::server
