#include "server/store/transfer.h"

#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "server/core/state.h"
#include "server/store/backup.h"
#include "server/store/sqlite_journal.h"
#include "server/store/sqlite_schema.h"
#ifdef GALLEON_POSTGRES
#include "server/store/postgres/rows.h"
#endif

namespace galleon::server {

namespace {

// What is in a file, counted, and understood as far as a scheduler has to.
absl::StatusOr<StoredSummary> read_state(const std::string& file, State& state) {
  StoredSummary summary;
  bool head = false;
  v1::JournalEvent stored;
  RowReader reader;
  const auto unreadable = [&](absl::string_view what, int64_t number) {
    return absl::DataLossError(absl::StrCat(file, ": ", what, " ", number, " cannot be read"));
  };
  reader.snapshot = [&](int64_t sequence) {
    summary.add_snapshot(sequence);
    return absl::OkStatus();
  };
  reader.part = [&](int64_t kind, int64_t number, absl::string_view body) {
    summary.add_part(kind, number, body);
    if (kind != kHeadPart) return head && state.restore_job(body) ? absl::OkStatus() : unreadable("part", number);
    v1::StateSnapshot snapshot;
    if (!snapshot.ParseFromArray(body.data(), static_cast<int>(body.size()))) return unreadable("part", number);
    state.restore_head(snapshot);
    head = true;
    return absl::OkStatus();
  };
  reader.event = [&](int64_t sequence, absl::string_view body) {
    summary.add_event(sequence, body);
    if (!stored.ParseFromArray(body.data(), static_cast<int>(body.size()))) return unreadable("event", sequence);
    state.apply(stored);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(read_file_rows(file, reader));
  return summary;
}

// SQLite's journal in a folder whose scheduler gets another store: out of the way, and back in its place unless the
// other has taken what it holds. Where that does not come to an end, the journal's absence is noticed by what had been
// acknowledged.
class SetAside {
 public:
  static absl::StatusOr<std::unique_ptr<SetAside>> move(const std::string& folder) {
    std::unique_ptr<SetAside> aside(new SetAside);
    const std::string journal = folder + "/scheduler.db";
    if (!std::filesystem::exists(journal)) return aside;
    ASSIGN_OR_RETURN(aside->lock_, SqliteJournal::lock(folder));
    const std::string kept = absl::StrCat(journal, ".replaced-", absl::ToUnixSeconds(absl::Now()));
    for (const char* suffix : {"", "-wal", "-shm"}) {
      if (!std::filesystem::exists(journal + suffix)) continue;
      RETURN_IF_ERROR(rename(journal + suffix, kept + suffix));
      aside->moved_.emplace_back(journal + suffix, kept + suffix);
    }
    return aside;
  }
  ~SetAside() {
    for (const auto& [was, is] : moved_) {
      if (const absl::Status status = rename(is, was); !status.ok())
        log_error(std::string(status.message()), ": move ", is, " back by hand");
    }
  }
  // For good.
  void keep() {
    if (!moved_.empty()) log_info("SQLite's journal is kept as ", moved_[0].second);
    moved_.clear();
  }

 private:
  SetAside() = default;
  static absl::Status rename(const std::string& from, const std::string& to) {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    if (error) return errno_status("cannot move", from, error.value());
    return sync_folder(std::filesystem::path(to).parent_path().string());
  }
  FileDescriptor lock_;
  std::vector<std::pair<std::string, std::string>> moved_;  // from, to
};

}  // namespace

absl::StatusOr<Transferred> export_journal(const SharedStoreOptions& store, const std::string& file) {
  if (std::filesystem::exists(file))
    return absl::AlreadyExistsError(absl::StrCat(file, " is there already; nothing was written"));
  std::optional<StoredSummary> from;
  if (store.url.empty()) {
    if (!std::filesystem::exists(store.data + "/scheduler.db"))
      return absl::NotFoundError(absl::StrCat("there is no journal in ", store.data));
    ASSIGN_OR_RETURN(const std::unique_ptr<SqliteJournal> journal, SqliteJournal::open(store.data));
    RETURN_IF_ERROR(journal->backup(file));
  } else {
    // Its checks, and whose it is.
    ASSIGN_OR_RETURN(const std::unique_ptr<SharedStore> opened, open_shared_store(store));
    ASSIGN_OR_RETURN(const SharedStore::Standing standing, opened->look());
    if (!standing.free) {
      return absl::AlreadyExistsError(absl::StrCat("a scheduler (", standing.holder, ", at ", standing.advertise,
                                                   ") works on the ", opened->place(),
                                                   "; stop it first, or take galleon admin backup"));
    }
#ifdef GALLEON_POSTGRES
    ASSIGN_OR_RETURN(from, copy_from_database(store, file));
#endif
  }
  State state;
  Transferred done;
  ASSIGN_OR_RETURN(done.rows, read_state(file, state));
  done.jobs = state.jobs().size();
  if (from.has_value() && !(*from == done.rows)) {
    return absl::DataLossError(
        absl::StrCat(file, " holds ", done.rows.text(), ", and the database ", from->text(), "; do not use it"));
  }
  return done;
}

absl::StatusOr<Transferred> import_journal(const SharedStoreOptions& store, const std::string& file, bool replace) {
#ifdef GALLEON_POSTGRES
  State state;
  ASSIGN_OR_RETURN(const StoredSummary rows, read_state(file, state));
  Transferred done;
  done.jobs = state.jobs().size();
  const std::string own = store.data + "/scheduler.db";
  if (!replace && std::filesystem::exists(own)) {
    RETURN_IF_ERROR(SqliteJournal::open(store.data).status());  // and closed: all of it is in the file then
    State of_own;
    ASSIGN_OR_RETURN(const StoredSummary there, read_state(own, of_own));
    if (!(there == rows)) {
      return absl::FailedPreconditionError(absl::StrCat(own, " holds ", there.text(), ", and ", file, " ", rows.text(),
                                                        ": export it again, so that nothing is forgotten"));
    }
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<SetAside> sqlite, SetAside::move(store.data));
  if (replace) {
    const std::string kept = absl::StrCat(store.data, "/scheduler.replaced-", absl::ToUnixSeconds(absl::Now()), ".db");
    ASSIGN_OR_RETURN(const std::unique_ptr<SharedStore> opened, open_shared_store(store));
    ASSIGN_OR_RETURN(const StoredSummary old, copy_from_database(store, kept));
    log_info("what the ", opened->place(), " held is kept as ", kept, ": ", old.text());
  }
  ASSIGN_OR_RETURN(done.rows, write_database(store, file, restored_event(state), replace));
  if (!(done.rows == rows)) return absl::DataLossError(absl::StrCat(file, " was changed while it was read"));
  sqlite->keep();
  return done;
#else
  (void)file, (void)replace;
  return open_shared_store(store).status();
#endif
}

}  // namespace galleon::server
