// One line for each change that somebody asked for, done or refused: when, who, from where, what, with what result. No
// secret is ever in it.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/api/task_thread.h"

namespace galleon::server {

// Lines that arrive while others are written go to the file together.
class Audit {
 public:
  // FOLDER/audit.jsonl, and older ones beside it: at most `keep` of `most_bytes` each.
  explicit Audit(std::string folder, uint64_t most_bytes = 64 << 20, int keep = 4);

  void record(absl::string_view caller, absl::string_view peer, absl::string_view method, absl::string_view resource,
              const absl::Status& status);

 private:
  void write();

  const std::string path_;
  const uint64_t most_bytes_;
  const int keep_;
  std::mutex mutex_;
  std::string pending_;  // lines that are written together
  TaskThread thread_;
};

}  // namespace galleon::server
