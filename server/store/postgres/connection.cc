#include "server/store/postgres/connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "server/store/shared_store.h"

namespace galleon::server {

namespace {

// SQLSTATE
constexpr char kReadOnly[] = "25006";
constexpr char kDiskFull[] = "53100";

// Of pg_type.
constexpr uint32_t kBytea = 17, kInt8 = 20, kText = 25, kByteaArray = 1001, kInt8Array = 1016;

void put(std::string& to, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to.push_back(static_cast<char>(value >> shift));
}

// The head of an array of one dimension without nulls.
std::string array_of(uint32_t element, size_t size) {
  std::string head;
  put(head, 1, 4);
  put(head, 0, 4);
  put(head, element, 4);
  put(head, size, 4);
  put(head, 1, 4);
  return head;
}

std::string one_line(const char* message) {
  const std::string text(absl::StripAsciiWhitespace(message == nullptr ? "" : message));
  return absl::StrReplaceAll(text, {{"\n", "; "}, {"\t", " "}});
}

// What is said of a connection that was never made.
absl::Status refused(const std::string& message) {
  for (const char* of_the_user : {"authentication", "no password supplied", "pg_hba.conf", "role \"", "permission"}) {
    if (absl::StrContains(message, of_the_user))
      return absl::PermissionDeniedError(absl::StrCat("the database lets nobody in: ", message));
  }
  if (absl::StrContains(message, "database \"") && absl::StrContains(message, "does not exist"))
    return absl::NotFoundError(absl::StrCat("there is no such database: ", message, "; createdb makes one"));
  for (const char* wrong : {"invalid connection option", "invalid URI", "definition of service", "invalid sslmode"}) {
    if (absl::StrContains(message, wrong)) return absl::InvalidArgumentError(absl::StrCat("--store: ", message));
  }
  return absl::UnavailableError(absl::StrCat("the database cannot be reached: ", message));
}

struct ConnectionInfo {
  PQconninfoOption* options = nullptr;
  ~ConnectionInfo() { PQconninfoFree(options); }
};

}  // namespace

Parameter Parameter::number(int64_t value) {
  Parameter made{kInt8, ""};
  put(made.bytes, static_cast<uint64_t>(value), 8);
  return made;
}
Parameter Parameter::text(absl::string_view value) {
  return {kText, std::string(value)};
}
Parameter Parameter::bytea(absl::string_view value) {
  return {kBytea, std::string(value)};
}
Parameter Parameter::numbers(const std::vector<int64_t>& values) {
  Parameter made{kInt8Array, array_of(kInt8, values.size())};
  for (const int64_t value : values) {
    put(made.bytes, 8, 4);
    put(made.bytes, static_cast<uint64_t>(value), 8);
  }
  return made;
}
Parameter Parameter::byteas(const std::vector<absl::string_view>& values) {
  Parameter made{kByteaArray, array_of(kBytea, values.size())};
  for (const absl::string_view value : values) {
    put(made.bytes, value.size(), 4);
    made.bytes.append(value.data(), value.size());
  }
  return made;
}

void Rows::Closer::operator()(pg_result* result) const {
  PQclear(result);
}
int Rows::count() const {
  return PQntuples(result_.get());
}
int64_t Rows::affected() const {
  return std::strtoll(PQcmdTuples(result_.get()), nullptr, 10);
}
int64_t Rows::number(int row, int column) const {
  const absl::string_view value = bytes(row, column);
  uint64_t found = 0;
  for (const char byte : value) found = found << 8 | static_cast<unsigned char>(byte);
  return static_cast<int64_t>(found);
}
bool Rows::flag(int row, int column) const {
  return number(row, column) != 0;
}
absl::string_view Rows::bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

void PostgresConnection::Closer::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::open(const std::string& store,
                                                                             const Clock& clock, absl::Duration until) {
  // A password that is changed is in the file before the next connection is made.
  std::string url = store;
  if (absl::StartsWith(store, "@")) {
    ASSIGN_OR_RETURN(const StoreAddress address, parse_store(store));
    url = address.url;
  }
  char* wrong = nullptr;
  const ConnectionInfo parsed{PQconninfoParse(url.c_str(), &wrong)};
  if (parsed.options == nullptr) {
    PQfreemem(wrong);  // it repeats the address
    return absl::InvalidArgumentError("--store: libpq does not understand the address");
  }
  // The address has the last word; a dead network is noticed by whoever waits for it.
  const char* keys[] = {"application_name", "tcp_user_timeout", "keepalives_idle", "dbname", nullptr};
  const char* values[] = {"galleon-scheduler", "10000", "10", url.c_str(), nullptr};
  std::unique_ptr<PostgresConnection> made(new PostgresConnection(PQconnectStartParams(keys, values, 1), clock));
  pg_conn* const raw = made->connection_.get();
  if (raw == nullptr) return absl::ResourceExhaustedError("there is no memory for a connection");
  PQsetNoticeProcessor(
      raw, [](void*, const char*) {}, nullptr);
  PostgresPollingStatusType step = PGRES_POLLING_WRITING;
  while (PQstatus(raw) != CONNECTION_BAD && step != PGRES_POLLING_OK && step != PGRES_POLLING_FAILED) {
    RETURN_IF_ERROR(made->wait(step == PGRES_POLLING_WRITING, until));
    step = PQconnectPoll(raw);
  }
  if (PQstatus(raw) != CONNECTION_OK) return refused(one_line(PQerrorMessage(raw)));
  PQsetnonblocking(raw, 1);
  return made;
}

absl::Status PostgresConnection::wait(bool to_write, absl::Duration until) {
  while (true) {
    const absl::Duration left = until - clock_->monotonic();
    if (left <= absl::ZeroDuration()) {
      given_up_ = true;
      return absl::UnavailableError("the database does not answer");
    }
    pollfd socket{PQsocket(connection_.get()), static_cast<short>(to_write ? POLLIN | POLLOUT : POLLIN), 0};
    const int ready =
        ::poll(&socket, 1, static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1000)));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", std::strerror(errno)));
  }
}

absl::Status PostgresConnection::lost() const {
  return absl::UnavailableError(
      absl::StrCat("the connection to the database is lost: ", one_line(PQerrorMessage(connection_.get()))));
}

absl::Status PostgresConnection::error(pg_result* result) const {
  const char* field = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string state = field == nullptr ? "" : field;
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string message = absl::StrCat(state == kDiskFull ? "the database's disk is full: " : "the database says: ",
                                           one_line(primary == nullptr ? PQresultErrorMessage(result) : primary),
                                           state.empty() ? "" : absl::StrCat(" (", state, ")"));
  const absl::string_view kind = absl::string_view(state).substr(0, 2);
  if (state.empty() || kind == "08" || kind == "40" || kind == "57" || state == "55P03" || state == kReadOnly ||
      state == "53300" || kind == "58") {
    return absl::UnavailableError(message);
  }
  if (kind == "53") return absl::ResourceExhaustedError(message);
  if (state == "23505") return absl::AlreadyExistsError(message);
  if (state == "42501" || kind == "28") return absl::PermissionDeniedError(message);
  return absl::InternalError(message);
}

absl::Status PostgresConnection::flush(absl::Duration until) {
  while (true) {
    const int left = PQflush(connection_.get());
    if (left == 0) return absl::OkStatus();
    if (left < 0) return lost();
    RETURN_IF_ERROR(wait(true, until));
    if (PQconsumeInput(connection_.get()) == 0) return lost();
  }
}

absl::StatusOr<pg_result*> PostgresConnection::next(absl::Duration until) {
  while (PQisBusy(connection_.get()) != 0) {
    RETURN_IF_ERROR(wait(false, until));
    if (PQconsumeInput(connection_.get()) == 0) return lost();
  }
  return PQgetResult(connection_.get());
}

absl::StatusOr<Rows> PostgresConnection::query(const std::string& sql, std::vector<Parameter> parameters,
                                               absl::Duration until) {
  std::vector<Command> one;
  one.push_back({sql, std::move(parameters)});
  ASSIGN_OR_RETURN(std::vector<Rows> rows, pipeline(one, until));
  return std::move(rows.front());
}

absl::StatusOr<std::vector<Rows>> PostgresConnection::pipeline(const std::vector<Command>& commands,
                                                               absl::Duration until) {
  pg_conn* const raw = connection_.get();
  if (broken()) return lost();
  // Whatever ends this early leaves a connection on which answers to nobody arrive.
  given_up_ = true;
  if (PQenterPipelineMode(raw) == 0) return lost();
  for (const Command& command : commands) {
    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths, formats;
    for (const Parameter& parameter : command.parameters) {
      types.push_back(parameter.type);
      values.push_back(parameter.bytes.data());
      lengths.push_back(static_cast<int>(parameter.bytes.size()));
      formats.push_back(1);
    }
    if (PQsendQueryParams(raw, command.sql.c_str(), static_cast<int>(types.size()), types.data(), values.data(),
                          lengths.data(), formats.data(), 1) == 0)
      return lost();
    RETURN_IF_ERROR(flush(until));
  }
  if (PQpipelineSync(raw) == 0) return lost();
  RETURN_IF_ERROR(flush(until));
  std::vector<Rows> rows;
  absl::Status failed;
  bool synced = false, read_only = false;
  while (!synced) {
    ASSIGN_OR_RETURN(pg_result * result, next(until));
    if (result == nullptr) {
      // The end of one command's results; of a connection that has ended there is nothing else for ever.
      if (PQstatus(raw) == CONNECTION_BAD) return lost();
      continue;
    }
    Rows held(result);
    switch (PQresultStatus(result)) {
      case PGRES_PIPELINE_SYNC:
        synced = true;
        break;
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
        rows.push_back(std::move(held));
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      default:
        if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE); state != nullptr)
          read_only |= absl::string_view(state) == kReadOnly;
        if (failed.ok()) failed = error(result);
    }
    if (PQstatus(raw) == CONNECTION_BAD) return failed.ok() ? lost() : failed;
  }
  if (PQexitPipelineMode(raw) == 0) return lost();
  // A server that only reads now does so for as long as the connection lasts: another may lead to the one that writes.
  given_up_ = read_only;
  if (!failed.ok()) return failed;
  if (rows.size() != commands.size()) return absl::InternalError("the database answered another number of statements");
  return rows;
}

absl::StatusOr<std::string> PostgresConnection::setting(const std::string& name, absl::Duration until) {
  ASSIGN_OR_RETURN(const Rows rows, query("SELECT current_setting($1, true)", {Parameter::text(name)}, until));
  return std::string(rows.bytes(0, 0));
}

bool PostgresConnection::broken() const {
  return given_up_ || PQstatus(connection_.get()) != CONNECTION_OK;
}
int PostgresConnection::backend() const {
  return PQbackendPID(connection_.get());
}
int PostgresConnection::server_version() const {
  return PQserverVersion(connection_.get());
}
std::string PostgresConnection::place() const {
  return absl::StrCat("database ", PQdb(connection_.get()), " at ", PQhost(connection_.get()), ":",
                      PQport(connection_.get()));
}

}  // namespace galleon::server
