// A connection to PostgreSQL whose every wait has an end, its results as objects, and its errors as words and codes
// that say what to do. Never a secret in a message.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"

struct pg_conn;
struct pg_result;

namespace galleon::server {

// A value that goes with a statement, in PostgreSQL's binary form.
struct Parameter {
  uint32_t type = 0;  // its OID
  std::string bytes;

  static Parameter number(int64_t value);
  static Parameter text(absl::string_view value);
  static Parameter bytea(absl::string_view value);
  static Parameter numbers(const std::vector<int64_t>& values);
  static Parameter byteas(const std::vector<absl::string_view>& values);
};

// Rows in binary form.
class Rows {
 public:
  explicit Rows(pg_result* result) : result_(result) {}
  int count() const;
  int64_t affected() const;                   // rows that a statement changed
  int64_t number(int row, int column) const;  // of a bigint; 0 if it is null
  bool flag(int row, int column) const;
  absl::string_view bytes(int row, int column) const;  // of text or bytea, valid as long as this

 private:
  struct Closer {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Closer> result_;
};

struct Command {
  std::string sql;
  std::vector<Parameter> parameters;
};

// Errors: UNAVAILABLE, the connection or the server is away, or another transaction was in the way: again later, and
// what a statement did is unknown. RESOURCE_EXHAUSTED, its disk is full. ALREADY_EXISTS, a key is taken.
// PERMISSION_DENIED. INTERNAL, all else. For use by one thread.
class PostgresConnection {
 public:
  // `url`: as parse_store() takes it. `until`: on the clock's monotonic(), as all of them here.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> open(const std::string& url, const Clock& clock,
                                                                  absl::Duration until);

  absl::StatusOr<Rows> query(const std::string& sql, std::vector<Parameter> parameters, absl::Duration until);
  // All of them sent at once, in one transaction unless they say otherwise: when one fails those after it are not done.
  absl::StatusOr<std::vector<Rows>> pipeline(const std::vector<Command>& commands, absl::Duration until);
  // The value of a setting of this session.
  absl::StatusOr<std::string> setting(const std::string& name, absl::Duration until);

  bool broken() const;
  int backend() const;         // the process that serves it; a pooler says something else
  int server_version() const;  // 150018
  // "galleon on db.example.org:5432"
  std::string place() const;

 private:
  PostgresConnection(pg_conn* connection, const Clock& clock) : connection_(connection), clock_(&clock) {}
  absl::Status wait(bool to_write, absl::Duration until);
  absl::Status error(pg_result* result) const;
  absl::Status lost() const;
  // Sends what waits, and takes what comes, so that neither side waits for the other for ever.
  absl::Status flush(absl::Duration until);
  absl::StatusOr<pg_result*> next(absl::Duration until);

  struct Closer {
    void operator()(pg_conn* connection) const;
  };
  std::unique_ptr<pg_conn, Closer> connection_;
  const Clock* clock_;
  bool given_up_ = false;  // a wait ended: what comes next on it belongs to nobody
};

}  // namespace galleon::server
