// A store that several schedulers reach: one of them writes for a term, the others stand by until its lease ends.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/store/journal.h"

namespace galleon::server {

// Of an error that says that another scheduler writes now: this one's term is over.
inline constexpr char kTermOverPayload[] = "galleon/term-over";
absl::Status term_over(absl::string_view sentence);
bool is_term_over(const absl::Status& status);

// What --store says: nothing, for SQLite in --data; "postgresql://…"; or "@FILE", whose first line it is.
// INVALID_ARGUMENT: something else, or a password where every user of the machine reads it. What a file says is in no
// message.
struct StoreAddress {
  std::string url;  // empty: SQLite
};
absl::StatusOr<StoreAddress> parse_store(const std::string& text);

struct SharedStoreOptions {
  std::string url;        // as parse_store() takes it; a file is read again for each connection
  std::string data;       // folder that all its schedulers share
  std::string advertise;  // where the one that writes is reached
  const Clock* clock = nullptr;
  absl::Duration lease = absl::Seconds(3);           // after which another takes over
  absl::Duration patience = absl::Seconds(60);       // for a database that is away, once this one writes
  std::function<void(const absl::Status&)> on_over;  // the term is over; from a thread of the store's
};

class SharedStore {
 public:
  virtual ~SharedStore() = default;
  struct Standing {
    bool free = false;      // nobody writes
    uint64_t term = 0;      // the newest
    std::string advertise;  // whoever has it is reached there
    std::string holder;     // "process 7 on alpha"
  };
  // UNAVAILABLE: the database does not answer now.
  virtual absl::StatusOr<Standing> look() = 0;
  // Hands over what was written since the call before, as Journal::load() does, so that whoever takes the journal later
  // has nearly all of it already. Not from several threads. UNAVAILABLE: the database does not answer now.
  virtual absl::Status follow(const Journal::Recovery& recovery) = 0;
  // The journal, for the term after the one that was seen. ALREADY_EXISTS: another writes. The term ends with the
  // journal.
  virtual absl::StatusOr<std::unique_ptr<Journal>> take(const Standing& seen) = 0;
  // Where it is, for people, without secrets.
  virtual std::string place() const = 0;
};

// UNIMPLEMENTED: this program was built without PostgreSQL. UNAVAILABLE: the database does not answer, or only reads.
// FAILED_PRECONDITION: it is of another cluster or a newer version, or would lose what it has acknowledged.
absl::StatusOr<std::unique_ptr<SharedStore>> open_shared_store(const SharedStoreOptions& options);

}  // namespace galleon::server
