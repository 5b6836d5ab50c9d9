// A scheduler's journal with any of its bytes changed, the database and its write-ahead log: all that was acknowledged
// is read back as it was written, or the journal is refused. Each six bytes of the input are one change: where (4),
// what (1) and with what (1).
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "fuzz_folder.h"
#include "server/store/sqlite_journal.h"

namespace {

using galleon::server::Journal;
using galleon::server::SqliteJournal;
using galleon::v1::JobState;
using galleon::v1::JournalEvent;
using galleon::v1::StateSnapshot;

constexpr char kAcknowledged[] = "scheduler.acknowledged";
constexpr char kDatabase[] = "scheduler.db";
constexpr char kLog[] = "scheduler.db-wal";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Written {
  std::string acknowledged;
  std::string database;
  std::string log;
  std::string content;
};

absl::Status load(SqliteJournal& journal, std::string& content) {
  Journal::Recovery recovery;
  recovery.head = [&](const StateSnapshot& head) { content += head.SerializeAsString(); };
  recovery.job = [&](absl::string_view body) {
    content.append(body.data(), body.size());
    return JobState().ParseFromArray(body.data(), static_cast<int>(body.size()));
  };
  recovery.event = [&](const JournalEvent& event) { content += event.SerializeAsString(); };
  return journal.load(recovery);
}

JournalEvent removal(int number) {
  JournalEvent event;
  event.mutable_job_deleted()->set_job_id("job-" + std::to_string(number));
  event.set_time_ms(1'700'000'000'000 + number);
  return event;
}

// A snapshot of some jobs, and events after it that are in the log alone.
Written written() {
  const galleon::FuzzFolder folder;
  absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(folder.path());
  if (!journal.ok()) __builtin_trap();
  std::string nothing;
  if (!load(**journal, nothing).ok()) __builtin_trap();
  if (!(*journal)->append({removal(1), removal(2)}).ok()) __builtin_trap();
  galleon::server::SnapshotChange change;
  change.head.set_revision(2);
  change.head.set_last_job_number(3);
  change.jobs = {1, 2, 3};
  std::string body;
  change.body = [&](uint64_t number) {
    JobState job;
    job.set_number(number);
    job.mutable_record()->set_job_id("job-" + std::to_string(number));
    body = job.SerializeAsString();
    return absl::string_view(body);
  };
  if (!(*journal)->compact(change).ok()) __builtin_trap();
  for (int i = 3; i < 8; ++i)
    if (!(*journal)->append({removal(i)}).ok()) __builtin_trap();
  Written all;
  all.acknowledged = read(folder.path() + "/" + kAcknowledged);
  all.database = read(folder.path() + "/" + kDatabase);
  all.log = read(folder.path() + "/" + kLog);
  const galleon::FuzzFolder again;
  again.write(kAcknowledged, all.acknowledged);
  again.write(kDatabase, all.database);
  again.write(kLog, all.log);
  absl::StatusOr<std::unique_ptr<SqliteJournal>> copy = SqliteJournal::open(again.path());
  if (!copy.ok() || !load(**copy, all.content).ok() || all.content.empty() || all.log.empty()) __builtin_trap();
  return all;
}

void change(std::string& bytes, size_t where, uint8_t what, char with) {
  if (bytes.empty()) return;
  where %= bytes.size();
  switch (what % 4) {
    case 0:
      bytes[where] = with;
      break;
    case 1:
      bytes[where] = static_cast<char>(bytes[where] ^ (1 << (with & 7)));
      break;
    case 2:
      bytes.resize(where);
      break;
    default:
      std::memset(bytes.data() + where, with, std::min<size_t>(bytes.size() - where, 512));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Written& whole = *new Written(written());
  std::string database = whole.database;
  std::string log = whole.log;
  for (size_t at = 0; at + 6 <= size && at < 60; at += 6) {
    uint32_t where = 0;
    std::memcpy(&where, data + at, sizeof(where));
    const uint8_t what = data[at + 4];
    change(what & 4 ? log : database, where, what, static_cast<char>(data[at + 5]));
  }
  const galleon::FuzzFolder folder;
  folder.write(kAcknowledged, whole.acknowledged);
  folder.write(kDatabase, database);
  folder.write(kLog, log);
  absl::StatusOr<std::unique_ptr<SqliteJournal>> journal = SqliteJournal::open(folder.path());
  if (!journal.ok()) return 0;
  std::string content;
  if (load(**journal, content).ok() && content != whole.content) __builtin_trap();
  return 0;
}
