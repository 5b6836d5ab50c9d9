// Trainers' logs as files, one for each rank of an attempt, written by offset: FOLDER/JOB/ATTEMPT/RANK.log.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon::server {

class LogFiles {
 public:
  explicit LogFiles(std::string folder) : folder_(std::move(folder)) {}

  struct Key {
    std::string job_id;
    uint32_t attempt = 0;
    uint32_t rank = 0;
  };

  struct Appended {
    uint64_t position = 0;  // so many bytes of the worker's are stored, or left out on purpose
    uint64_t added = 0;     // bytes by which the file grew
  };
  // Adds what of `data` (which begins at `offset`) is new, and flushes it to the disk. A gap adds nothing. `all_sent`:
  // if all of it is there, no more will come. `refused`: why nothing more is kept; what is new is left out then,
  // counted, with a line in its place that says so. Empty: it is kept.
  absl::StatusOr<Appended> append(const Key& key, uint64_t offset, absl::string_view data, bool all_sent,
                                  const std::string& refused = "") const;
  // Up to `limit` bytes from `offset`; empty at the end, or if nothing has been written.
  absl::StatusOr<std::string> read(const Key& key, uint64_t offset, size_t limit) const;
  uint64_t size(const Key& key) const;
  // Where its last `lines` lines begin, no more than 1 MiB before the end.
  absl::StatusOr<uint64_t> tail(const Key& key, uint32_t lines) const;
  bool complete(const Key& key) const;
  // Of all that is kept of a job.
  uint64_t size_of_job(const std::string& job_id) const;
  // Everything of a job that is no longer in the list.
  void remove(const std::string& job_id) const;

 private:
  std::string path(const Key& key, absl::string_view suffix) const;
  const std::string folder_;
};

}  // namespace galleon::server
