#include "server/store/postgres/term.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace galleon::server {

namespace {

std::string this_process() {
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  return absl::StrCat("process ", ::getpid(), " on ", host);
}

Parameter milliseconds(absl::Duration time) {
  return Parameter::number(absl::ToInt64Milliseconds(time));
}

// Of a lease, by this machine's clock, which may be slower than the database's.
constexpr double kOwnShare = 0.9;

// A lease never reaches further than its own length. One that does was given by a clock that has been put back since,
// and is over: its writer, if it is there, renews it within a third of that.
constexpr char kFree[] =
    "NOT (lease_until > clock_timestamp() AND "
    "lease_until <= clock_timestamp() + 2 * lease_ms * interval '1 millisecond')";

}  // namespace

absl::StatusOr<SharedStore::Standing> read_standing(PostgresConnection& connection, absl::Duration until) {
  ASSIGN_OR_RETURN(
      const Rows row,
      connection.query(absl::StrCat("SELECT term, ", kFree, ", advertise, holder FROM galleon.writer"), {}, until));
  if (row.count() != 1) return absl::DataLossError("galleon.writer has not one row");
  SharedStore::Standing standing;
  standing.term = static_cast<uint64_t>(row.number(0, 0));
  standing.free = row.flag(0, 1);
  standing.advertise = std::string(row.bytes(0, 2));
  standing.holder = std::string(row.bytes(0, 3));
  return standing;
}

absl::StatusOr<int64_t> take_term(PostgresConnection& connection, const SharedStore::Standing& seen,
                                  const std::string& advertise, absl::Duration lease, absl::Duration until) {
  const Parameter term = Parameter::number(static_cast<int64_t>(seen.term));
  // Not for what it may do: its term fails it. For the locks that it may hold.
  RETURN_IF_ERROR(
      connection
          .query(absl::StrCat("SELECT pg_terminate_backend(a.pid) FROM galleon.writer w, pg_stat_activity a "
                              "WHERE w.term = $1 AND ",
                              kFree,
                              " AND a.pid = ANY (w.backends) AND a.datname = current_database() AND "
                              "a.usename = current_user AND a.pid <> pg_backend_pid()"),
                 {term}, until)
          .status());
  ASSIGN_OR_RETURN(
      const Rows taken,
      connection.query(
          absl::StrCat("UPDATE galleon.writer SET term = term + 1, holder = $2, advertise = $3, "
                       "backends = ARRAY[pg_backend_pid()::bigint], lease_ms = $4, "
                       "lease_until = clock_timestamp() + $4 * interval '1 millisecond' WHERE term = $1 AND ",
                       kFree, " RETURNING term"),
          {term, Parameter::text(this_process()), Parameter::text(advertise), milliseconds(lease)}, until));
  if (taken.count() == 1) return taken.number(0, 0);
  ASSIGN_OR_RETURN(const SharedStore::Standing now, read_standing(connection, until));
  return absl::AlreadyExistsError(
      absl::StrCat("another scheduler (", now.holder, ", at ", now.advertise, ") writes, in term ", now.term));
}

absl::Status add_backend(PostgresConnection& connection, int64_t term, absl::Duration until) {
  return connection
      .query(
          "UPDATE galleon.writer SET backends = backends[greatest(1, cardinality(backends) - 6):] || "
          "pg_backend_pid()::bigint WHERE term = $1",
          {Parameter::number(term)}, until)
      .status();
}

absl::StatusOr<bool> renew_term(PostgresConnection& connection, int64_t term, absl::Duration lease,
                                absl::Duration until) {
  ASSIGN_OR_RETURN(
      const Rows row,
      connection.query("UPDATE galleon.writer SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' "
                       "WHERE term = $1",
                       {Parameter::number(term), milliseconds(lease)}, until));
  return row.affected() == 1;
}

absl::Status end_term(PostgresConnection& connection, int64_t term, absl::Duration until) {
  return connection
      .query("UPDATE galleon.writer SET lease_until = '-infinity' WHERE term = $1", {Parameter::number(term)}, until)
      .status();
}

TermKeeper::TermKeeper(int64_t term, absl::Duration lease, const Clock& clock, absl::Duration taken, Connect connect,
                       std::function<void(const absl::Status&)> on_over)
    : term_(term),
      lease_(lease),
      clock_(clock),
      connect_(std::move(connect)),
      on_over_(std::move(on_over)),
      lease_end_(absl::ToInt64Nanoseconds(taken + lease * kOwnShare)),
      thread_([this] { run(); }) {}

TermKeeper::~TermKeeper() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void TermKeeper::renewed(absl::Duration sent) {
  const int64_t end = absl::ToInt64Nanoseconds(sent + lease_ * kOwnShare);
  int64_t known = lease_end_;
  while (known < end && !lease_end_.compare_exchange_weak(known, end)) {
  }
}

bool TermKeeper::pause(absl::Duration time) {
  std::unique_lock<std::mutex> lock(mutex_);
  return !changed_.wait_for(lock, absl::ToChronoMilliseconds(time), [this] { return ending_; });
}

void TermKeeper::run() {
  std::unique_ptr<PostgresConnection> connection;
  bool told = false;
  for (absl::Duration next = absl::ZeroDuration(); pause(next);) {
    const absl::Duration sent = clock_.monotonic();
    const absl::Duration until = sent + std::max(lease_, absl::Seconds(2));
    next = lease_ / 3;
    absl::StatusOr<bool> mine = true;
    if (connection == nullptr || connection->broken()) {
      connection.reset();
      absl::StatusOr<std::unique_ptr<PostgresConnection>> made = connect_(until);
      if (made.ok()) {
        connection = *std::move(made);
        if (absl::Status added = add_backend(*connection, term_, until); !added.ok()) mine = added;
      } else {
        mine = made.status();
      }
    }
    if (mine.ok()) mine = renew_term(*connection, term_, lease_, until);
    if (!mine.ok()) {
      if (!told) log_warning("the lease cannot be renewed: ", std::string(mine.status().message()));
      told = true;
      next = absl::Milliseconds(100);
      continue;
    }
    if (!*mine) {
      over_ = true;
      on_over_(term_over(absl::StrCat("term ", term_, " is over: another scheduler writes now")));
      return;
    }
    if (told) log_info("the lease is renewed again");
    told = false;
    renewed(sent);
  }
}

}  // namespace galleon::server
