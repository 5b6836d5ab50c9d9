#include "server/store/backup.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status_macros.h"
#include "server/core/state.h"
#include "server/store/acknowledged.h"
#include "server/store/sqlite_database.h"
#include "server/store/sqlite_journal.h"

namespace galleon::server {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kEpochsSkipped = 1'000'000;  // more than a scheduler hands out between two backups

absl::Status sync_file(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno_status("cannot open", path, errno);
  return ::fsync(file.get()) == 0 ? absl::OkStatus() : errno_status("cannot write", path, errno);
}

absl::Status move_file(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  return error ? absl::UnavailableError(absl::StrCat("cannot move ", from, " to ", to, ": ", error.message()))
               : absl::OkStatus();
}

// Reads all of the journal in `folder` and skips epochs behind its end; the number of its jobs.
absl::StatusOr<size_t> renew(const std::string& folder) {
  ASSIGN_OR_RETURN(std::unique_ptr<SqliteJournal> journal, SqliteJournal::open(folder));
  State state;
  RETURN_IF_ERROR(journal->load({
      [&state](const v1::StateSnapshot& head) { state.restore_head(head); },
      [&state](absl::string_view body) { return state.restore_job(body); },
      [&state](const v1::JournalEvent& event) { state.apply(event); },
  }));
  RETURN_IF_ERROR(journal->append({restored_event(state)}));
  return state.jobs().size();
}

struct FolderRemover {
  std::string folder;
  ~FolderRemover() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
};

}  // namespace

v1::JournalEvent restored_event(const State& state) {
  v1::JournalEvent restored;
  restored.set_time_ms(absl::ToUnixMillis(absl::Now()));
  restored.mutable_state_restored()->set_last_epoch(state.last_epoch() + kEpochsSkipped);
  return restored;
}

absl::Status copy_database(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(SqliteDatabase source, SqliteDatabase::open(from, SqliteDatabase::Mode::kReadOnly));
  const std::string partial = to + ".partial";
  ::unlink(partial.c_str());
  ASSIGN_OR_RETURN(SqliteDatabase::Statement copy, source.statement("VACUUM INTO ?"));
  sqlite3_bind_text(copy.get(), 1, partial.c_str(), static_cast<int>(partial.size()), SQLITE_STATIC);
  absl::Status status = source.run(copy);
  if (status.ok()) status = sync_file(partial);
  if (status.ok()) status = move_file(partial, to);
  if (status.ok()) status = sync_folder(fs::absolute(to).parent_path().string());
  if (!status.ok()) ::unlink(partial.c_str());
  return status;
}

absl::StatusOr<Restored> restore_backup(const std::string& backup, const std::string& folder) {
  RETURN_IF_ERROR(make_folders(folder));
  ASSIGN_OR_RETURN(FileDescriptor lock, SqliteJournal::lock(folder));
  const FolderRemover work{folder + "/restoring"};
  std::error_code error;
  fs::remove_all(work.folder, error);
  RETURN_IF_ERROR(make_folders(work.folder));
  const std::string fresh = work.folder + "/scheduler.db";
  fs::copy_file(backup, fresh, error);
  if (error) return absl::NotFoundError(absl::StrCat("cannot read ", backup, ": ", error.message()));
  absl::StatusOr<size_t> jobs = renew(work.folder);
  if (!jobs.ok()) {
    return absl::Status(
        jobs.status().code(),
        absl::StrCat(backup, " cannot be restored, and nothing was changed: ", std::string(jobs.status().message())));
  }
  RETURN_IF_ERROR(sync_file(fresh));
  Restored restored{*jobs, ""};
  Acknowledged::forget(folder);
  const std::string path = folder + "/scheduler.db";
  if (fs::exists(path)) {
    restored.replaced = absl::StrCat(path, ".replaced-", absl::ToUnixSeconds(absl::Now()));
    // What belongs together stays together, so that the old file can be looked at.
    for (const char* suffix : {"", "-wal", "-shm"}) {
      if (!fs::exists(path + suffix)) continue;
      RETURN_IF_ERROR(move_file(path + suffix, restored.replaced + suffix));
    }
  }
  RETURN_IF_ERROR(move_file(fresh, path));
  RETURN_IF_ERROR(sync_folder(folder));
  return restored;
}

}  // namespace galleon::server
