#include "server/store/postgres/follower.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "server/store/postgres/rows.h"
#include "server/store/sqlite_schema.h"
#include "server/store/stored_rows.h"

namespace galleon::server {

namespace {

// One statement sees one moment. From the event that was read last: it shows whether the journal is still the same.
constexpr char kNewer[] =
    "SELECT s.sequence, (SELECT checksum FROM galleon.part WHERE kind = 0 AND number = 0), e.sequence, e.checksum, "
    "e.body FROM galleon.snapshot_sequence s LEFT JOIN galleon.event e ON e.sequence >= $1 ORDER BY e.sequence LIMIT "
    "$2";
enum Column { kSnapshot, kHead, kSequence, kChecksum, kBody };

}  // namespace

bool Follower::continued_by(const Rows& rows) const {
  const int64_t snapshot = rows.number(0, kSnapshot);
  const bool same = rows.number(0, kSequence) == at_->sequence && at_->checksum == rows.number(0, kChecksum);
  if (snapshot == at_->snapshot) return rows.number(0, kHead) == at_->head && (same || !at_->checksum);
  // Compaction leaves what came since the snapshot before it, so that who reads as it is written misses nothing.
  return snapshot > at_->snapshot && snapshot >= at_->sequence && same;
}

absl::Status Follower::hand_over(int64_t sequence, absl::string_view body, const Journal::Recovery& recovery) {
  if (sequence != at_->sequence + 1) return damaged_database(absl::StrCat("event ", at_->sequence + 1, " is missing"));
  if (!event_.ParseFromArray(body.data(), static_cast<int>(body.size())))
    return damaged_database(absl::StrCat("event ", sequence, " cannot be read"));
  RETURN_IF_ERROR(check_known(event_, sequence));
  recovery.event(event_);
  at_->sequence = sequence;
  return absl::OkStatus();
}

absl::Status Follower::read(PostgresConnection& connection, const Journal::Recovery& recovery, const Clock& clock,
                            absl::Duration patience) {
  while (at_) {
    ASSIGN_OR_RETURN(const Rows rows,
                     connection.query(kNewer, {Parameter::number(at_->sequence), Parameter::number(kReadRows)},
                                      clock.monotonic() + patience));
    if (rows.count() == 0) return damaged_database("galleon.snapshot_sequence has not one row");
    if (!continued_by(rows)) break;
    const auto pass_snapshot = [&] {
      if (at_->sequence != rows.number(0, kSnapshot) || at_->snapshot == at_->sequence) return;
      at_->snapshot = at_->sequence;
      at_->head = rows.number(0, kHead);
      recovery.saved();
    };
    pass_snapshot();
    for (int row = 0; row < rows.count(); ++row) {
      const int64_t sequence = rows.number(row, kSequence);
      if (sequence <= at_->sequence) continue;  // there is none, or it was read before
      if (checksum(sequence, rows.bytes(row, kBody)) != rows.number(row, kChecksum))
        return damaged_database(absl::StrCat("event ", sequence, " does not match its checksum"));
      RETURN_IF_ERROR(hand_over(sequence, rows.bytes(row, kBody), recovery));
      at_->checksum = rows.number(row, kChecksum);
      pass_snapshot();
    }
    if (rows.count() < kReadRows) return absl::OkStatus();
  }
  return read_all(connection, recovery, clock, patience);
}

absl::Status Follower::read_all(PostgresConnection& connection, const Journal::Recovery& recovery, const Clock& clock,
                                absl::Duration patience) {
  at_.reset();
  const auto query = [&](const char* sql) { return connection.query(sql, {}, clock.monotonic() + patience); };
  RETURN_IF_ERROR(query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").status());
  recovery.begin_again();
  const auto everything = [&]() -> absl::Status {
    bool head = false;
    RowReader reader;
    reader.snapshot = [&](int64_t found) {
      at_ = Position{found, 0, found, std::nullopt};
      return absl::OkStatus();
    };
    reader.part = [&](int64_t kind, int64_t number, absl::string_view body) {
      bool whole = true;
      if (kind == kHeadPart) {
        v1::StateSnapshot state;
        whole = state.ParseFromArray(body.data(), static_cast<int>(body.size()));
        if (whole) recovery.head(state);
        head = whole;
        at_->head = checksum(number, body);
      } else {
        whole = head && recovery.job(body);
      }
      return whole ? absl::OkStatus() : damaged_database(absl::StrCat("part ", kind, "/", number, " cannot be read"));
    };
    reader.event = [&](int64_t found, absl::string_view body) {
      RETURN_IF_ERROR(hand_over(found, body, recovery));
      at_->checksum = checksum(found, body);
      return absl::OkStatus();
    };
    RETURN_IF_ERROR(read_database(connection, reader, clock, patience));
    if (at_->snapshot > 0 && !head) return damaged_database("the head of the snapshot is missing");
    if (at_->checksum) return absl::OkStatus();
    // Nothing since the snapshot: the newest event is one that it stands for.
    ASSIGN_OR_RETURN(const Rows last, query("SELECT checksum FROM galleon.event WHERE sequence = (SELECT sequence FROM "
                                            "galleon.snapshot_sequence)"));
    if (last.count() == 1) at_->checksum = last.number(0, 0);
    return absl::OkStatus();
  };
  absl::Status status = everything();
  if (!status.ok()) at_.reset();
  const absl::Status ended = query("COMMIT").status();
  return status.ok() && !connection.broken() ? ended : status;
}

}  // namespace galleon::server
