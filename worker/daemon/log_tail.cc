#include "worker/daemon/log_tail.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"

namespace galleon {

namespace {

// Gives the disk back without moving what lies behind. A file system that cannot is no reason to lose the log.
void punch_hole(const std::string& path, uint64_t from, uint64_t to) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.valid() && to > from) {
    (void)::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                      static_cast<off_t>(to - from));
  }
}

}  // namespace

LogTail::LogTail(std::string path, LogPosition position, uint64_t spool_bytes)
    : path_(std::move(path)), position_(position), spool_bytes_(spool_bytes) {}

uint64_t LogTail::file_size() const {
  struct stat info {};
  return ::stat(path_.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

std::string LogTail::dropped_line() const {
  return absl::StrCat("\n[galleon-worker: ", position_.drop_to - position_.drop_from,
                      " bytes of this log were dropped here, more waited than the worker keeps]\n");
}

void LogTail::bound(uint64_t size) {
  const uint64_t dropped = position_.drop_to - position_.drop_from;
  if (drop_fixed_ || size - position_.file - dropped <= spool_bytes_) return;
  // The first half is what led here, the last half is how it ended.
  if (dropped == 0) {
    position_.drop_from = position_.drop_to = position_.file + spool_bytes_ / 2;
  }
  const uint64_t before = position_.drop_to;
  position_.drop_to = std::max(position_.drop_to, size - spool_bytes_ / 2);
  punch_hole(path_, before, position_.drop_to);
}

LogTail::Chunk LogTail::next(size_t limit) {
  const uint64_t size = std::max(file_size(), position_.file);
  bound(size);
  Chunk chunk;
  chunk.offset = position_.shipped;
  const bool drops = position_.drop_to > position_.drop_from;
  if (drops && position_.file == position_.drop_from) {
    drop_fixed_ = true;
    chunk.data = dropped_line();
    return chunk;
  }
  const uint64_t end = drops ? position_.drop_from : size;
  const uint64_t length = std::min<uint64_t>(limit, end - position_.file);
  chunk.data.resize(length);
  FileDescriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t n =
      file.valid() ? ::pread(file.get(), chunk.data.data(), length, static_cast<off_t>(position_.file)) : 0;
  chunk.data.resize(n > 0 ? static_cast<size_t>(n) : 0);
  chunk.last = !drops && position_.file + chunk.data.size() >= size;
  return chunk;
}

void LogTail::acknowledge(const Chunk& sent, uint64_t stored) {
  const uint64_t before = position_.file;
  if (drop_fixed_ && stored > sent.offset) {
    // The line stands for the dropped part; it is short and goes as a whole.
    position_.file = position_.drop_to;
    position_.shipped = stored;
    position_.drop_from = position_.drop_to = 0;
    drop_fixed_ = false;
  } else if (stored > position_.shipped) {
    // More than was sent is what an earlier, unanswered call had brought.
    const uint64_t end =
        position_.drop_to > position_.drop_from ? position_.drop_from : std::max(file_size(), position_.file);
    position_.file += std::min(stored - position_.shipped, end - position_.file);
    position_.shipped = stored;
  } else if (stored < position_.shipped) {
    // The scheduler lost bytes that are gone from here too: go on where it stands.
    position_.shipped = stored;
  }
  // In pages, so that few calls do it.
  constexpr uint64_t kBlock = 1 << 20;
  if (before / kBlock != position_.file / kBlock)
    punch_hole(path_, before / kBlock * kBlock, position_.file / kBlock * kBlock);
}

uint64_t LogTail::written() const {
  const uint64_t size = std::max(file_size(), position_.file);
  const bool drops = position_.drop_to > position_.drop_from;
  const uint64_t dropped = position_.drop_to - position_.drop_from;
  return position_.shipped + (size - position_.file) - dropped + (drops ? dropped_line().size() : 0);
}

}  // namespace galleon
