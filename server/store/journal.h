// The durable journal: events in order, and a snapshot that stands for all of those before it. A store is an
// implementation of this; tests/server/store/journal_suite_test.cc is what each has to pass.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"

namespace galleon::server {

// What has changed since the snapshot before.
struct SnapshotChange {
  v1::StateSnapshot head;      // everything but the jobs
  std::vector<uint64_t> jobs;  // their numbers
  // Each of them serialized, when it is written; valid until the next call.
  std::function<absl::string_view(uint64_t number)> body;
  std::vector<uint64_t> removed;  // numbers of jobs that are no longer there
};

class Journal {
 public:
  virtual ~Journal() = default;

  // Who takes what is stored: the head of the snapshot and its jobs by number, if there is one, then every event after
  // it, in order.
  struct Recovery {
    std::function<void(const v1::StateSnapshot&)> head;
    // A JobState, serialized; false: it is not.
    std::function<bool(absl::string_view body)> job;
    std::function<void(const v1::JournalEvent&)> event;
    // What was handed over before does not count: everything comes from the beginning.
    std::function<void()> begin_again = [] {};
    // A snapshot stands for all that has been handed over.
    std::function<void()> saved = [] {};
  };
  // Everything; of a store that was followed before its journal was taken, what is new since. DATA_LOSS: what is stored
  // is not what was written. FAILED_PRECONDITION: a newer version wrote it.
  virtual absl::Status load(const Recovery& recovery) = 0;
  // All of them or none; on OK they survive a power cut. After an error nobody knows, and the process must end.
  virtual absl::Status append(const std::vector<v1::JournalEvent>& events) = 0;
  // Brings the snapshot to the state that all events so far lead to, and drops them, in one step. After an error
  // everything is as before.
  virtual absl::Status compact(const SnapshotChange& change) = 0;
  // Writes all that is durable at one moment into a file that restore_backup() takes, while others append. May be
  // called on any thread. RESOURCE_EXHAUSTED: the disk is full.
  virtual absl::Status backup(const std::string& path) const = 0;
  // Whether this process may still decide and answer: where a journal is shared, its term may be over. Waits while the
  // store is away. On the thread that appends.
  virtual absl::Status standing() { return absl::OkStatus(); }
  // Events after the snapshot.
  virtual int64_t events_since_snapshot() const = 0;
};

}  // namespace galleon::server
