// Where a log leaves something out: how the bytes that a worker counts go with those that lie in the file. Kept in a
// small file beside the log, written before the log is, so that a crash between the two loses and doubles nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace galleon::server {

struct LogGap {
  uint64_t file = 0;           // with so many bytes in the file
  uint64_t position = 0;       // the worker had sent so many
  uint64_t dropped_bytes = 0;  // of the part that is being left out; 0: none is
  uint64_t dropped_lines = 0;
  // What ends the file up to `file`, in our words; written again where the file is shorter.
  std::string line;

  // How many bytes the worker has sent, with so many in the file.
  uint64_t position_of(uint64_t size) const { return size <= file ? position : position + (size - file); }
};

// Without a file: nothing was left out. DATA_LOSS: it does not say what it should.
absl::StatusOr<LogGap> read_log_gap(const std::string& path);
absl::Status write_log_gap(const std::string& path, const LogGap& gap);

}  // namespace galleon::server
