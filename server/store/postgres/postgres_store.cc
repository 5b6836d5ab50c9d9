#include "server/store/postgres/postgres_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "server/store/postgres/rows.h"
#include "server/store/postgres/schema.h"
#include "server/store/sqlite_schema.h"

namespace galleon::server {

namespace {

constexpr absl::Duration kConnectWait = absl::Seconds(5);
constexpr absl::Duration kSilence = absl::Seconds(10);  // of a connection, before another is tried
constexpr absl::Duration kPause = absl::Milliseconds(50);

// The row of the writer is locked until the commit, so that a term begins after all that was written in the one before.
constexpr char kInsert[] =
    "WITH fence AS (SELECT id FROM galleon.writer WHERE term = $1 FOR SHARE) "
    "INSERT INTO galleon.event (sequence, term, body, checksum) "
    "SELECT e.sequence, $1, e.body, e.checksum FROM fence, unnest($2::bigint[], $3::bytea[], $4::bigint[]) "
    "AS e (sequence, body, checksum)";

bool again(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kAlreadyExists ||
         status.code() == absl::StatusCode::kResourceExhausted;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedStore>> PostgresStore::open(const SharedStoreOptions& options) {
  std::unique_ptr<PostgresStore> store(new PostgresStore(options));
  const absl::Duration until = options.clock->monotonic() + 2 * kConnectWait;
  ASSIGN_OR_RETURN(store->watch_, store->connect(until));
  store->place_ = store->watch_->place();
  RETURN_IF_ERROR(check_pooler(
      *store->watch_, [&] { return store->connect(until); }, until));
  ASSIGN_OR_RETURN(store->cluster_, prepare_database(*store->watch_, options.data, until));
  return store;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresStore::connect(absl::Duration until) const {
  ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> made,
                   PostgresConnection::open(options_.url, *options_.clock, until));
  RETURN_IF_ERROR(check_session(*made, until));
  return made;
}

absl::Status PostgresStore::watch(absl::Duration until) {
  if (watch_ != nullptr && !watch_->broken()) return absl::OkStatus();
  watch_.reset();
  ASSIGN_OR_RETURN(watch_, connect(until));
  return absl::OkStatus();
}

absl::StatusOr<SharedStore::Standing> PostgresStore::look() {
  const absl::Duration until = options_.clock->monotonic() + kConnectWait;
  RETURN_IF_ERROR(watch(until));
  return read_standing(*watch_, until);
}

absl::Status PostgresStore::follow(const Journal::Recovery& recovery) {
  RETURN_IF_ERROR(watch(options_.clock->monotonic() + kConnectWait));
  return follower_.read(*watch_, recovery, *options_.clock, kConnectWait);
}

absl::StatusOr<std::unique_ptr<Journal>> PostgresStore::take(const Standing& seen) {
  const auto connect = [options = options_, cluster = cluster_](
                           absl::Duration until) -> absl::StatusOr<std::unique_ptr<PostgresConnection>> {
    ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> made,
                     PostgresConnection::open(options.url, *options.clock, until));
    RETURN_IF_ERROR(check_session(*made, until));
    ASSIGN_OR_RETURN(const Rows found, made->query("SELECT cluster FROM galleon.store", {}, until));
    if (found.count() != 1 || found.bytes(0, 0) != cluster) {
      return absl::FailedPreconditionError(
          absl::StrCat("the ", made->place(), " is not the one of cluster ", cluster, " any more"));
    }
    return made;
  };
  const absl::Duration until = options_.clock->monotonic() + kConnectWait;
  ASSIGN_OR_RETURN(std::unique_ptr<PostgresConnection> connection, connect(until));
  const absl::Duration sent = options_.clock->monotonic();
  ASSIGN_OR_RETURN(const int64_t term, take_term(*connection, seen, options_.advertise, options_.lease, until));
  return PostgresJournal::open(options_, cluster_, connect, std::move(connection), term, sent,
                               std::exchange(follower_, Follower()));
}

absl::StatusOr<std::unique_ptr<Journal>> PostgresJournal::open(const SharedStoreOptions& options, std::string cluster,
                                                               Connect connect,
                                                               std::unique_ptr<PostgresConnection> connection,
                                                               int64_t term, absl::Duration taken, Follower follower) {
  std::unique_ptr<PostgresJournal> journal(
      new PostgresJournal(options, std::move(cluster), connect, std::move(connection), term));
  journal->keeper_ = std::make_unique<TermKeeper>(
      term, options.lease, *options.clock, taken, std::move(connect),
      options.on_over ? options.on_over : [](const absl::Status&) {});
  RETURN_IF_ERROR(journal->read_progress(options.clock->monotonic() + options.patience));
  ASSIGN_OR_RETURN(Acknowledged acknowledged, Acknowledged::open(options.data));
  RETURN_IF_ERROR(acknowledged.check(journal->last_sequence_));
  journal->acknowledged_ = std::move(acknowledged);
  journal->follower_ = std::move(follower);
  return journal;
}

// The lease ends here, so that another need not wait for it.
PostgresJournal::~PostgresJournal() {
  keeper_.reset();
  const absl::Duration until = now() + absl::Seconds(2);
  if (connection_ == nullptr || connection_->broken()) (void)reconnect(until);
  if (connection_ != nullptr && !connection_->broken()) (void)end_term(*connection_, term_, until);
}

absl::Status PostgresJournal::read_progress(absl::Duration until) {
  if (connection_ == nullptr || connection_->broken()) RETURN_IF_ERROR(reconnect(until));
  ASSIGN_OR_RETURN(const Rows found,
                   connection_->query("SELECT sequence, (SELECT coalesce(max(sequence), 0) FROM galleon.event) FROM "
                                      "galleon.snapshot_sequence",
                                      {}, until));
  if (found.count() != 1) return damaged_database("galleon.snapshot_sequence has not one row");
  const int64_t last = std::max(found.number(0, 0), found.number(0, 1));
  if (last_sequence_ != 0 && last != last_sequence_) return damaged_database("its newest events are missing");
  snapshot_ = found.number(0, 0);
  last_sequence_ = last;
  snapshot_known_ = true;
  return absl::OkStatus();
}

absl::Status PostgresJournal::over() const {
  return term_over(absl::StrCat("term ", term_,
                                " is over: another scheduler writes now, and what this one decided last was not "
                                "written"));
}

absl::Status PostgresJournal::reconnect(absl::Duration until) {
  connection_.reset();
  absl::StatusOr<std::unique_ptr<PostgresConnection>> made = connect_(std::min(until, now() + kConnectWait));
  // Who was let in before will be again, once a new password is where it belongs.
  if (absl::IsPermissionDenied(made.status()) || absl::IsNotFound(made.status()))
    return absl::UnavailableError(made.status().message());
  RETURN_IF_ERROR(made.status());
  connection_ = *std::move(made);
  return add_backend(*connection_, term_, until);
}

absl::Status PostgresJournal::pause(const absl::Status& why, absl::Duration until) {
  if (now() + kPause >= until) return why;
  if (!told_away_) {
    log_warning(std::string(why.message()), "; nothing is decided until it is back, for ",
                absl::FormatDuration(options_.patience), " at most");
  }
  told_away_ = true;
  absl::SleepFor(kPause);
  return absl::OkStatus();
}

absl::Status PostgresJournal::standing() {
  if (keeper_->over()) return over();
  if (now() < keeper_->lease_end()) return absl::OkStatus();
  // The keeper could not renew it, or this process was stopped: what is known may be old.
  const absl::Duration until = now() + options_.patience;
  while (true) {
    const absl::Duration sent = now();
    absl::StatusOr<bool> mine = true;
    if (connection_ == nullptr || connection_->broken()) {
      if (absl::Status status = reconnect(until); !status.ok()) mine = status;
    }
    if (mine.ok()) mine = renew_term(*connection_, term_, options_.lease, std::min(until, now() + kConnectWait));
    if (mine.ok()) {
      if (!*mine) return over();
      keeper_->renewed(sent);
      told_away_ = false;
      return absl::OkStatus();
    }
    if (!again(mine.status())) return mine.status();
    RETURN_IF_ERROR(pause(mine.status(), until));
  }
}

absl::Status PostgresJournal::load(const Recovery& recovery) {
  Follower follower = std::exchange(follower_, Follower());
  RETURN_IF_ERROR(follower.read(*connection_, recovery, *options_.clock, options_.patience));
  return follower.sequence() == last_sequence_ ? absl::OkStatus() : damaged_database("its newest events are missing");
}

absl::Status PostgresJournal::insert(const std::vector<Command>& commands, int64_t count, absl::Duration until) {
  if (connection_ == nullptr || connection_->broken()) return absl::UnavailableError("the database is away");
  // Behind a proxy that hangs a connection stays silent for ever. What it was to do may still be done: the next one
  // sees from the journal whether it was.
  ASSIGN_OR_RETURN(const std::vector<Rows> done, connection_->pipeline(commands, std::min(until, now() + kSilence)));
  int64_t inserted = 0;
  for (const Rows& rows : done) inserted += rows.affected();
  if (inserted == count) return absl::OkStatus();
  return inserted == 0 ? over() : absl::InternalError("the database took only some of the events");
}

absl::StatusOr<int64_t> PostgresJournal::written_to(absl::Duration until) {
  if (connection_ == nullptr || connection_->broken()) RETURN_IF_ERROR(reconnect(until));
  ASSIGN_OR_RETURN(
      const Rows found,
      connection_->query("SELECT w.term, greatest(s.sequence, (SELECT coalesce(max(sequence), 0) FROM galleon.event)) "
                         "FROM galleon.writer w, galleon.snapshot_sequence s",
                         {}, until));
  if (found.count() != 1) return damaged_database("a table has not one row");
  if (found.number(0, 0) != term_) return over();
  return found.number(0, 1);
}

absl::Status PostgresJournal::append(const std::vector<v1::JournalEvent>& events) {
  if (events.empty()) return absl::OkStatus();
  Pieces pieces(kInsert, term_);
  int64_t sequence = last_sequence_;
  for (const v1::JournalEvent& event : events) pieces.add(++sequence, event.SerializeAsString());
  const std::vector<Command> commands = pieces.take();
  const int64_t count = sequence - last_sequence_;
  const absl::Duration until = now() + options_.patience;
  absl::Status status = insert(commands, count, until);
  while (!status.ok()) {
    if (!again(status)) return status;
    RETURN_IF_ERROR(pause(status, until));
    // What became of it is seen from how far the journal has got: nobody else writes in this term.
    const absl::StatusOr<int64_t> written = written_to(until);
    if (!written.ok()) {
      if (!again(written.status())) return written.status();
      status = written.status();
    } else if (*written == sequence) {
      status = absl::OkStatus();
    } else if (*written == last_sequence_) {
      status = insert(commands, count, until);
    } else {
      return absl::DataLossError(absl::StrCat("the database holds ", *written, " entries, and ", last_sequence_,
                                              " had been acknowledged: it was put back to an earlier moment, or is ",
                                              "another one"));
    }
  }
  if (told_away_) log_info("the database is back");
  told_away_ = false;
  last_sequence_ = sequence;
  // Where it cannot be written it stays behind, which loses nothing.
  (void)acknowledged_->set(last_sequence_);
  return absl::OkStatus();
}

absl::Status PostgresJournal::compact(const SnapshotChange& change) {
  const absl::Duration until = now() + options_.patience;
  if (connection_ == nullptr || connection_->broken()) RETURN_IF_ERROR(reconnect(until));
  std::vector<Command> commands = {{"BEGIN", {}},
                                   {"UPDATE galleon.snapshot_sequence SET sequence = $1 WHERE sequence = $2",
                                    {Parameter::number(last_sequence_), Parameter::number(snapshot_)}}};
  const auto add = [&commands](Pieces& pieces) {
    for (Command& command : pieces.take()) commands.push_back(std::move(command));
  };
  Pieces head(kPutParts, kHeadPart);
  head.add(0, change.head.SerializeAsString());
  add(head);
  Pieces jobs(kPutParts, kJobPart);
  for (const uint64_t number : change.jobs) jobs.add(static_cast<int64_t>(number), std::string(change.body(number)));
  add(jobs);
  const std::vector<int64_t> removed(change.removed.begin(), change.removed.end());
  if (!removed.empty()) {
    commands.push_back({"DELETE FROM galleon.part WHERE kind = $1 AND number = ANY ($2)",
                        {Parameter::number(kJobPart), Parameter::numbers(removed)}});
  }
  // Those since the snapshot before stay, so that who follows and is a little behind need not begin again.
  commands.push_back({"DELETE FROM galleon.event WHERE sequence < $1", {Parameter::number(snapshot_)}});
  // Last, so that nobody who renews the lease or wants it waits for all of this.
  commands.push_back({"SELECT id FROM galleon.writer WHERE term = $1 FOR SHARE", {Parameter::number(term_)}});
  absl::StatusOr<std::vector<Rows>> done = connection_->pipeline(commands, until);
  absl::Status status = done.status();
  if (status.ok() && done->back().count() != 1) status = over();
  if (status.ok() && (*done)[1].affected() != 1) {
    snapshot_known_ = false;
    status = absl::InternalError("the snapshot in the database is not the one that was left there");
  }
  if (!status.ok()) {
    (void)connection_->query("ROLLBACK", {}, until);
    return status;
  }
  // An answer that is lost here leaves it open whether the snapshot is the new one: the database knows.
  status = connection_->query("COMMIT", {}, until).status();
  while (!status.ok()) {
    snapshot_known_ = false;
    if (!again(status)) return status;
    RETURN_IF_ERROR(pause(status, until));
    absl::Status found = read_progress(until);
    if (found.ok()) {
      if (snapshot_ == last_sequence_) return absl::OkStatus();
      return status;
    }
    status = std::move(found);
  }
  snapshot_ = last_sequence_;
  return absl::OkStatus();
}

absl::Status PostgresJournal::backup(const std::string& path) const {
  return copy_from_database(options_, path).status();
}

}  // namespace galleon::server
