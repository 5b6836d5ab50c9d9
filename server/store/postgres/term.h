// The term of the scheduler that writes: a row that says who, and until when by the database's clock. The row fences:
// what is written under an older term is not written at all, whatever its writer believes the time to be.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/store/postgres/connection.h"
#include "server/store/shared_store.h"

namespace galleon::server {

// Who writes, as the row says it.
absl::StatusOr<SharedStore::Standing> read_standing(PostgresConnection& connection, absl::Duration until);

// Makes the caller the writer of the next term, if the lease of the one that was seen has ended; its number.
// ALREADY_EXISTS: another has the term. Connections of the one before are ended, so that no lock of a process that is
// stopped is in the way.
absl::StatusOr<int64_t> take_term(PostgresConnection& connection, const SharedStore::Standing& seen,
                                  const std::string& advertise, absl::Duration lease, absl::Duration until);

// Says that this connection is now the term's too.
absl::Status add_backend(PostgresConnection& connection, int64_t term, absl::Duration until);

// Renews the lease once. False: the term is over.
absl::StatusOr<bool> renew_term(PostgresConnection& connection, int64_t term, absl::Duration lease,
                                absl::Duration until);
// Ends the lease at once, for whoever waits.
absl::Status end_term(PostgresConnection& connection, int64_t term, absl::Duration until);

// Renews the lease on a thread and a connection of its own until it ends.
class TermKeeper {
 public:
  // Makes a connection whose session has been checked.
  using Connect = std::function<absl::StatusOr<std::unique_ptr<PostgresConnection>>(absl::Duration until)>;
  TermKeeper(int64_t term, absl::Duration lease, const Clock& clock, absl::Duration taken, Connect connect,
             std::function<void(const absl::Status&)> on_over);
  ~TermKeeper();

  // By this machine's clock, from before the renewal was sent, and a tenth earlier: never later than the database has
  // it.
  absl::Duration lease_end() const { return absl::Nanoseconds(lease_end_.load()); }
  void renewed(absl::Duration sent);
  bool over() const { return over_; }

 private:
  void run();
  // Until the next renewal is due; false: it ends.
  bool pause(absl::Duration time);

  const int64_t term_;
  const absl::Duration lease_;
  const Clock& clock_;
  const Connect connect_;
  const std::function<void(const absl::Status&)> on_over_;
  std::atomic<int64_t> lease_end_;
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace galleon::server
