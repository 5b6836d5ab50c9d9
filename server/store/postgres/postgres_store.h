// The journal in a PostgreSQL database that several schedulers reach.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/acknowledged.h"
#include "server/store/postgres/connection.h"
#include "server/store/postgres/follower.h"
#include "server/store/postgres/term.h"
#include "server/store/shared_store.h"
#include "server/store/stored_rows.h"

namespace galleon::server {

class PostgresStore final : public SharedStore {
 public:
  static absl::StatusOr<std::unique_ptr<SharedStore>> open(const SharedStoreOptions& options);
  absl::StatusOr<Standing> look() override;
  absl::Status follow(const Journal::Recovery& recovery) override;
  absl::StatusOr<std::unique_ptr<Journal>> take(const Standing& seen) override;
  std::string place() const override { return place_; }

 private:
  explicit PostgresStore(const SharedStoreOptions& options) : options_(options) {}
  absl::StatusOr<std::unique_ptr<PostgresConnection>> connect(absl::Duration until) const;
  // A connection that looks and follows.
  absl::Status watch(absl::Duration until);

  const SharedStoreOptions options_;
  std::string cluster_;
  std::string place_;
  std::unique_ptr<PostgresConnection> watch_;  // null: to be made again
  Follower follower_;
};

class PostgresJournal final : public Journal {
 public:
  using Connect = TermKeeper::Connect;
  // Of a term that `connection` has just taken, at `taken` by this machine's clock. `follower`: how far its reader is.
  static absl::StatusOr<std::unique_ptr<Journal>> open(const SharedStoreOptions& options, std::string cluster,
                                                       Connect connect, std::unique_ptr<PostgresConnection> connection,
                                                       int64_t term, absl::Duration taken, Follower follower);
  ~PostgresJournal() override;

  absl::Status load(const Recovery& recovery) override;
  absl::Status append(const std::vector<v1::JournalEvent>& events) override;
  absl::Status compact(const SnapshotChange& change) override;
  absl::Status backup(const std::string& path) const override;
  int64_t events_since_snapshot() const override { return last_sequence_ - snapshot_; }
  absl::Status standing() override;

 private:
  PostgresJournal(const SharedStoreOptions& options, std::string cluster, Connect connect,
                  std::unique_ptr<PostgresConnection> connection, int64_t term)
      : options_(options),
        cluster_(std::move(cluster)),
        connect_(std::move(connect)),
        connection_(std::move(connection)),
        term_(term) {}
  absl::Duration now() const { return options_.clock->monotonic(); }
  // How far events and snapshot have got, after a start or an answer that was lost.
  absl::Status read_progress(absl::Duration until);
  // A connection that works, to the same cluster's database, in our term.
  absl::Status reconnect(absl::Duration until);
  absl::Status insert(const std::vector<Command>& commands, int64_t count, absl::Duration until);
  // How far the journal has got, after an attempt of which nobody knows what became.
  absl::StatusOr<int64_t> written_to(absl::Duration until);
  absl::Status over() const;
  // Between two attempts while the database is away; an error once patience ends.
  absl::Status pause(const absl::Status& why, absl::Duration until);

  const SharedStoreOptions options_;
  const std::string cluster_;
  const Connect connect_;
  std::unique_ptr<PostgresConnection> connection_;
  const int64_t term_;
  std::unique_ptr<TermKeeper> keeper_;
  std::optional<Acknowledged> acknowledged_;
  Follower follower_;  // of the first load()
  int64_t last_sequence_ = 0;
  int64_t snapshot_ = 0;
  bool snapshot_known_ = false;
  bool told_away_ = false;
};

}  // namespace galleon::server
