// Rows of the journal on their way into a database and out of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/postgres/connection.h"
#include "server/store/shared_store.h"
#include "server/store/stored_rows.h"

namespace galleon::server {

// DATA_LOSS, with the way out.
absl::Status damaged_database(absl::string_view what);

// Of one answer, where all rows of a table are read.
inline constexpr int64_t kReadRows = 2'000;

// Puts parts of the snapshot, of the kind that is its first parameter.
extern const char kPutParts[];

// Rows in statements of bounded size.
class Pieces {
 public:
  // `first`: the first parameter of each, a term or a kind; behind it numbers, bodies and checksums.
  Pieces(std::string sql, int64_t first) : sql_(std::move(sql)), first_(first) {}
  void add(int64_t number, std::string body);
  std::vector<Command> take();

 private:
  void end();

  const std::string sql_;
  const int64_t first_;
  std::vector<int64_t> numbers_, checksums_;
  std::vector<std::string> bodies_;
  size_t bytes_ = 0;
  std::vector<Command> commands_;
};

// Hands over what the connection's transaction sees: the snapshot, and the events after it.
absl::Status read_database(PostgresConnection& connection, const RowReader& reader, const Clock& clock,
                           absl::Duration patience);
// Puts the rows of a file into a database, in one transaction, with `restored` as one more event behind them.
// ALREADY_EXISTS: there is something in it, and `replace` was not said, or a scheduler writes. DATA_LOSS: what stands
// there afterwards is not what was in the file, and nothing was changed.
absl::StatusOr<StoredSummary> write_database(const SharedStoreOptions& options, const std::string& file,
                                             const v1::JournalEvent& restored, bool replace);
// Reads what a database holds into a new file of SQLite's, as restore_backup() takes it.
absl::StatusOr<StoredSummary> copy_from_database(const SharedStoreOptions& options, const std::string& file);

}  // namespace galleon::server
