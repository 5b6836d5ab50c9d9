// How far the journal had got when something was last answered, beside it: SQLite takes a write-ahead log that is
// damaged in its middle for one that ends there, and says nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/files.h"

namespace galleon::server {

class Acknowledged {
 public:
  // FOLDER/scheduler.acknowledged, made if it is missing, as it is for a journal of an older version.
  static absl::StatusOr<Acknowledged> open(const std::string& folder);
  // DATA_LOSS: more was acknowledged than the journal holds; says how much, and the way out.
  absl::Status check(int64_t sequence) const;
  // Not flushed to the disk: after a power cut it may be behind the journal, and never before it.
  absl::Status set(int64_t sequence);
  // What stands there is of another journal than the one that is put in its place.
  static void forget(const std::string& folder);

 private:
  Acknowledged(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  FileDescriptor file_;
};

}  // namespace galleon::server
