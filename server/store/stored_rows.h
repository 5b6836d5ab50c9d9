// What a journal holds, row by row, so that it can be copied from one store into another; and what is counted to know
// that all of it arrived.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"
#include "server/store/sqlite_database.h"

namespace galleon::server {

// FAILED_PRECONDITION: this version does not know what kind of event it is.
absl::Status check_known(const v1::JournalEvent& event, int64_t sequence);

// First the sequence that the snapshot stands for, then its parts by kind and number, then the events in order.
struct RowReader {
  std::function<absl::Status(int64_t sequence)> snapshot;
  std::function<absl::Status(int64_t kind, int64_t number, absl::string_view body)> part;
  std::function<absl::Status(int64_t sequence, absl::string_view body)> event;
};

// Equal summaries of two stores: they hold the same.
struct StoredSummary {
  int64_t snapshot = 0;
  int64_t parts = 0;
  int64_t events = 0;
  uint64_t chain = 14695981039346656037ULL;  // over each row and all before it

  void add_snapshot(int64_t sequence);
  void add_part(int64_t kind, int64_t number, absl::string_view body);
  void add_event(int64_t sequence, absl::string_view body);
  bool operator==(const StoredSummary&) const = default;
  // "3 parts of the snapshot at 12, 4 events, chain 0123456789abcdef"
  std::string text() const;
};

// DATA_LOSS: a row does not match its checksum. FAILED_PRECONDITION: not a journal, or of another version.
absl::Status read_file_rows(const std::string& path, const RowReader& reader);

// A new file of SQLite's that appears whole, or not at all.
class RowFile {
 public:
  static absl::StatusOr<std::unique_ptr<RowFile>> create(const std::string& path);
  ~RowFile();
  absl::Status snapshot(int64_t sequence);
  absl::Status part(int64_t kind, int64_t number, absl::string_view body);
  absl::Status event(int64_t sequence, absl::string_view body);
  absl::Status finish();

 private:
  RowFile(std::string path, SqliteDatabase database) : path_(std::move(path)), database_(std::move(database)) {}
  std::string path_;
  std::optional<SqliteDatabase> database_;
  SqliteDatabase::Statement part_, event_;
};

}  // namespace galleon::server
