// How far somebody has read the journal in a database, so that the next time only what is new is read.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/store/journal.h"
#include "server/store/postgres/connection.h"

namespace galleon::server {

class Follower {
 public:
  // Hands over what was written since the call before. Where that cannot be told (nothing was read yet, the database
  // was put back to an earlier moment, or what lies between has been dropped) everything from the beginning.
  // DATA_LOSS: what is stored is not what was written. FAILED_PRECONDITION: a newer version wrote it. After an error
  // the next call goes on where this one ended.
  absl::Status read(PostgresConnection& connection, const Journal::Recovery& recovery, const Clock& clock,
                    absl::Duration patience);
  // The last event that was handed over; 0: none.
  int64_t sequence() const { return at_ ? at_->sequence : 0; }

 private:
  struct Position {
    int64_t snapshot = 0;  // the last event that the newest snapshot stands for,
    int64_t head = 0;      // and the checksum of its head
    int64_t sequence = 0;
    std::optional<int64_t> checksum;  // of that event; none: its row was not there
  };
  absl::Status read_all(PostgresConnection& connection, const Journal::Recovery& recovery, const Clock& clock,
                        absl::Duration patience);
  // Is what the database holds a continuation of what was read? `rows`: of the statement that asks for what is new.
  bool continued_by(const Rows& rows) const;
  absl::Status hand_over(int64_t sequence, absl::string_view body, const Journal::Recovery& recovery);

  std::optional<Position> at_;  // none: all of it is to be read
  v1::JournalEvent event_;      // memory that is used again
};

}  // namespace galleon::server
