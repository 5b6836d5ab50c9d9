// An open SQLite file, its statements as objects, and its errors as words that say what to do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace galleon::server {

class SqliteDatabase {
 public:
  enum class Mode { kReadOnly, kReadWrite };
  // kReadWrite makes the file if there is none.
  static absl::StatusOr<SqliteDatabase> open(const std::string& path, Mode mode);

  struct Closer {
    void operator()(sqlite3* database) const;
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

  absl::Status execute(const std::string& sql);
  absl::StatusOr<Statement> statement(const char* sql);
  // The first column of the first row; 0 if there is none.
  absl::StatusOr<int64_t> number(const char* sql);
  // Runs a statement that returns no row, and makes it ready to run again.
  absl::Status run(const Statement& statement);

  // The last error: RESOURCE_EXHAUSTED (disk full), PERMISSION_DENIED, DATA_LOSS, else UNAVAILABLE.
  absl::Status error(absl::string_view what) const;
  absl::Status damaged(absl::string_view what) const;
  // DATA_LOSS if SQLite finds its own structures broken.
  absl::Status check_integrity();

  sqlite3* get() const { return database_.get(); }
  const std::string& path() const { return path_; }

 private:
  SqliteDatabase(std::string path, sqlite3* database) : path_(std::move(path)), database_(database) {}
  std::string path_;
  std::unique_ptr<sqlite3, Closer> database_;
};

// A column as bytes, valid until the statement moves on.
absl::string_view blob_column(sqlite3_stmt* row, int column);
// Binds bytes that stay where they are until the statement has run.
void bind_blob(sqlite3_stmt* statement, int parameter, absl::string_view bytes);

}  // namespace galleon::server
