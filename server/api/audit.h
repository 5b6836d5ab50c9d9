// One line for each change that somebody asked for, done or refused: when, who, from where, what, with what result. No
// secret is ever in it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/api/task_thread.h"

namespace galleon::server {

// Lines that arrive while others are written go to the file together. Calls of nobody that is known have a file of
// their own, in which each minute has one line for each address and method: whoever has no credential cannot push the
// lines of others out of the file.
class Audit {
 public:
  // FOLDER/audit.jsonl and FOLDER/audit-unknown.jsonl, and older ones beside them: at most `keep` of `most_bytes` each.
  explicit Audit(std::string folder, const Clock* clock, uint64_t most_bytes = 64 << 20, int keep = 4);
  // With what is still counted.
  ~Audit();

  // UNAUTHENTICATED: `caller` is nobody that is known.
  void record(absl::string_view caller, absl::string_view peer, absl::string_view method, absl::string_view resource,
              const absl::Status& status);

 private:
  // Lines that are written together.
  struct File {
    std::string path;
    std::string pending;
  };
  void add(File& file, const std::string& line);
  void write(File& file);
  void count(absl::string_view peer, absl::string_view method);
  void flush_counts(absl::Duration now);

  const Clock* const clock_;
  const uint64_t most_bytes_;
  const int keep_;
  std::mutex mutex_;
  File known_;
  File unknown_;
  std::map<std::pair<std::string, std::string>, int64_t> counts_;  // by address and method
  int64_t uncounted_ = 0;                                          // of addresses beyond those that are told apart
  absl::Duration last_flush_ = -absl::InfiniteDuration();
  TaskThread thread_;
};

}  // namespace galleon::server
