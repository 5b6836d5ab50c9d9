// Ships one rank's log from its file, in order, each byte once. What is shipped leaves the disk; when the part that
// waits grows beyond a bound its middle is dropped, with a line in its place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace galleon {

// Where shipping stands; kept in the rank's state file.
struct LogPosition {
  uint64_t shipped = 0;    // bytes acknowledged, as the scheduler counts them
  uint64_t file = 0;       // where the next byte lies in the file
  uint64_t drop_from = 0;  // bytes of the file that are left out: [drop_from, drop_to)
  uint64_t drop_to = 0;
  bool operator==(const LogPosition&) const = default;
};

class LogTail {
 public:
  LogTail(std::string path, LogPosition position, uint64_t spool_bytes);

  struct Chunk {
    uint64_t offset = 0;  // as the scheduler counts
    std::string data;
    bool last = false;  // nothing of the file lies behind it
  };
  // What to send next, at most `limit` bytes of the file; empty data when nothing waits. The same until acknowledged.
  Chunk next(size_t limit);
  // `stored` is what the scheduler has. More or less than was sent (after lost answers, or with a scheduler restored
  // from an older state) moves the position within what the file still holds.
  void acknowledge(const Chunk& sent, uint64_t stored);

  // Bytes of the log so far, as the scheduler will count them.
  uint64_t written() const;
  const LogPosition& position() const { return position_; }

 private:
  uint64_t file_size() const;
  void bound(uint64_t size);
  std::string dropped_line() const;

  std::string path_;
  LogPosition position_;
  uint64_t spool_bytes_;
  // The end of the dropped part may not move any more: the line that states its size is on its way.
  bool drop_fixed_ = false;
};

}  // namespace galleon
