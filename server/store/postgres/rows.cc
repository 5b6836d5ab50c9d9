#include "server/store/postgres/rows.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/store/acknowledged.h"
#include "server/store/postgres/schema.h"
#include "server/store/postgres/term.h"
#include "server/store/sqlite_schema.h"

namespace galleon::server {

namespace {

constexpr size_t kPieceBytes = 4 << 20;  // of a statement
constexpr size_t kPieceRows = 10'000;

}  // namespace

const char kPutParts[] =
    "INSERT INTO galleon.part (kind, number, body, checksum) SELECT $1, p.number, p.body, p.checksum "
    "FROM unnest($2::bigint[], $3::bytea[], $4::bigint[]) AS p (number, body, checksum) "
    "ON CONFLICT (kind, number) DO UPDATE SET body = excluded.body, checksum = excluded.checksum";

absl::Status damaged_database(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the journal in the database is damaged (", what,
                                          ") and was left as it is; restore the database, or ",
                                          "put a backup in its place: galleon-scheduler --store … --restore BACKUP"));
}

void Pieces::add(int64_t number, std::string body) {
  numbers_.push_back(number);
  checksums_.push_back(checksum(number, body));
  bytes_ += body.size();
  bodies_.push_back(std::move(body));
  if (bytes_ >= kPieceBytes || numbers_.size() >= kPieceRows) end();
}

void Pieces::end() {
  if (numbers_.empty()) return;
  const std::vector<absl::string_view> bodies(bodies_.begin(), bodies_.end());
  commands_.push_back({sql_,
                       {Parameter::number(first_), Parameter::numbers(numbers_), Parameter::byteas(bodies),
                        Parameter::numbers(checksums_)}});
  numbers_.clear();
  bodies_.clear();
  checksums_.clear();
  bytes_ = 0;
}

std::vector<Command> Pieces::take() {
  end();
  return std::move(commands_);
}

absl::Status read_database(PostgresConnection& connection, const RowReader& reader, const Clock& clock,
                           absl::Duration patience) {
  const auto until = [&] { return clock.monotonic() + patience; };
  ASSIGN_OR_RETURN(const Rows snapshot,
                   connection.query("SELECT sequence FROM galleon.snapshot_sequence", {}, until()));
  if (snapshot.count() != 1) return damaged_database("galleon.snapshot_sequence has not one row");
  int64_t sequence = snapshot.number(0, 0);
  RETURN_IF_ERROR(reader.snapshot(sequence));
  int64_t kind = -1, number = 0;
  while (true) {
    ASSIGN_OR_RETURN(
        const Rows rows,
        connection.query("SELECT kind, number, checksum, body FROM galleon.part WHERE (kind, number) > "
                         "($1, $2) ORDER BY kind, number LIMIT $3",
                         {Parameter::number(kind), Parameter::number(number), Parameter::number(kReadRows)}, until()));
    for (int row = 0; row < rows.count(); ++row) {
      kind = rows.number(row, 0);
      number = rows.number(row, 1);
      if (checksum(number, rows.bytes(row, 3)) != rows.number(row, 2))
        return damaged_database(absl::StrCat("part ", kind, "/", number, " does not match its checksum"));
      RETURN_IF_ERROR(reader.part(kind, number, rows.bytes(row, 3)));
    }
    if (rows.count() < kReadRows) break;
  }
  while (true) {
    ASSIGN_OR_RETURN(const Rows rows,
                     connection.query("SELECT sequence, checksum, body FROM galleon.event WHERE "
                                      "sequence > $1 ORDER BY sequence LIMIT $2",
                                      {Parameter::number(sequence), Parameter::number(kReadRows)}, until()));
    for (int row = 0; row < rows.count(); ++row) {
      sequence = rows.number(row, 0);
      if (checksum(sequence, rows.bytes(row, 2)) != rows.number(row, 1))
        return damaged_database(absl::StrCat("event ", sequence, " does not match its checksum"));
      RETURN_IF_ERROR(reader.event(sequence, rows.bytes(row, 2)));
    }
    if (rows.count() < kReadRows) return absl::OkStatus();
  }
}

absl::StatusOr<StoredSummary> copy_from_database(const SharedStoreOptions& options, const std::string& file) {
  const absl::Duration until = options.clock->monotonic() + options.patience;
  ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> connection,
                   PostgresConnection::open(options.url, *options.clock, until));
  RETURN_IF_ERROR(connection->query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", {}, until).status());
  ASSIGN_OR_RETURN(std::unique_ptr<RowFile> copy, RowFile::create(file));
  StoredSummary summary;
  RowReader reader;
  reader.snapshot = [&](int64_t sequence) {
    summary.add_snapshot(sequence);
    return copy->snapshot(sequence);
  };
  reader.part = [&](int64_t kind, int64_t number, absl::string_view body) {
    summary.add_part(kind, number, body);
    return copy->part(kind, number, body);
  };
  reader.event = [&](int64_t sequence, absl::string_view body) {
    summary.add_event(sequence, body);
    return copy->event(sequence, body);
  };
  RETURN_IF_ERROR(read_database(*connection, reader, *options.clock, options.patience));
  RETURN_IF_ERROR(copy->finish());
  return summary;
}

absl::StatusOr<StoredSummary> write_database(const SharedStoreOptions& options, const std::string& file,
                                             const v1::JournalEvent& restored, bool replace) {
  const absl::Duration until = options.clock->monotonic() + options.patience;
  ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> connection,
                   PostgresConnection::open(options.url, *options.clock, until));
  RETURN_IF_ERROR(check_session(*connection, until));
  RETURN_IF_ERROR(prepare_database(*connection, options.data, until).status());
  const auto run = [&](const std::vector<Command>& commands) {
    return connection->pipeline(commands, options.clock->monotonic() + options.patience).status();
  };
  // Nobody takes a term while the row is held.
  RETURN_IF_ERROR(run({{"BEGIN", {}}, {"SELECT id FROM galleon.writer FOR UPDATE", {}}}));
  const auto written = [&]() -> absl::StatusOr<StoredSummary> {
    ASSIGN_OR_RETURN(const SharedStore::Standing standing, read_standing(*connection, until));
    if (!standing.free) {
      return absl::AlreadyExistsError(absl::StrCat("another scheduler (", standing.holder, ", at ", standing.advertise,
                                                   ") works on the ", connection->place(), "; stop it first"));
    }
    ASSIGN_OR_RETURN(
        const Rows there,
        connection->query("SELECT EXISTS (SELECT FROM galleon.event) OR EXISTS (SELECT FROM galleon.part)", {}, until));
    if (there.flag(0, 0) && !replace) {
      return absl::AlreadyExistsError(absl::StrCat("the ", connection->place(), " holds a journal already; ",
                                                   "galleon-scheduler --store … --restore FILE puts one in its place"));
    }
    RETURN_IF_ERROR(run({{"DELETE FROM galleon.event", {}}, {"DELETE FROM galleon.part", {}}}));
    StoredSummary from;
    int64_t last = 0;
    const std::string put_event =
        "INSERT INTO galleon.event (sequence, term, body, checksum) SELECT e.sequence, $1, e.body, e.checksum FROM "
        "unnest($2::bigint[], $3::bytea[], $4::bigint[]) AS e (sequence, body, checksum)";
    Pieces head(kPutParts, kHeadPart), jobs(kPutParts, kJobPart);
    Pieces events(put_event, static_cast<int64_t>(standing.term));
    const auto send = [&](Pieces& pieces, int64_t every) {
      if (every % static_cast<int64_t>(kPieceRows) != 0) return absl::OkStatus();
      const std::vector<Command> commands = pieces.take();
      return commands.empty() ? absl::OkStatus() : run(commands);
    };
    RowReader reader;
    reader.snapshot = [&](int64_t sequence) {
      from.add_snapshot(sequence);
      last = sequence;
      return run({{"UPDATE galleon.snapshot_sequence SET sequence = $1", {Parameter::number(sequence)}}});
    };
    reader.part = [&](int64_t kind, int64_t number, absl::string_view body) {
      from.add_part(kind, number, body);
      Pieces& pieces = kind == kHeadPart ? head : jobs;
      pieces.add(number, std::string(body));
      return send(pieces, from.parts);
    };
    reader.event = [&](int64_t sequence, absl::string_view body) {
      from.add_event(sequence, body);
      last = sequence;
      events.add(sequence, std::string(body));
      return send(events, from.events);
    };
    RETURN_IF_ERROR(read_file_rows(file, reader));
    for (Pieces* pieces : {&head, &jobs, &events}) RETURN_IF_ERROR(send(*pieces, 0));
    StoredSummary to;
    reader.snapshot = [&](int64_t sequence) {
      to.add_snapshot(sequence);
      return absl::OkStatus();
    };
    reader.part = [&](int64_t kind, int64_t number, absl::string_view body) {
      to.add_part(kind, number, body);
      return absl::OkStatus();
    };
    reader.event = [&](int64_t sequence, absl::string_view body) {
      to.add_event(sequence, body);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(read_database(*connection, reader, *options.clock, options.patience));
    if (!(from == to)) {
      return absl::DataLossError(absl::StrCat("what arrived in the database (", to.text(), ") is not what is in ", file,
                                              " (", from.text(), "); nothing was changed"));
    }
    events.add(last + 1, restored.SerializeAsString());
    RETURN_IF_ERROR(send(events, 0));
    // Whoever wrote before cannot any more.
    RETURN_IF_ERROR(run({{"UPDATE galleon.writer SET term = term + 1", {}}, {"COMMIT", {}}}));
    return from;
  };
  absl::StatusOr<StoredSummary> result = written();
  if (!result.ok()) {
    (void)connection->query("ROLLBACK", {}, options.clock->monotonic() + absl::Seconds(5));
    return result;
  }
  Acknowledged::forget(options.data);
  return result;
}

}  // namespace galleon::server
