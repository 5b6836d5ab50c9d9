// A folder of token caches that several jobs share. Who uses a cache holds it, one process at a time makes it, and when
// all together are larger than wanted, those that nobody holds are removed, the longest unused first.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/files.h"

namespace galleon {

struct SharedCaches {
  std::string folder;      // empty: none is shared
  int64_t most_bytes = 0;  // of all that nobody uses, together with those that are in use
};

// Held as long as it lives, in this process and on other machines that see the same folder, by record locks of
// NAME.lock.
class CacheHold {
 public:
  // Makes the folder. UNIMPLEMENTED: the file system has no locks. Others: of making and opening files.
  static absl::StatusOr<std::unique_ptr<CacheHold>> take(const std::string& folder, const std::string& name);
  // Says when it was last used.
  ~CacheHold();
  CacheHold(const CacheHold&) = delete;
  CacheHold& operator=(const CacheHold&) = delete;

  // True from the moment that this hold is the one that makes the cache; false: another one does.
  bool make();

 private:
  explicit CacheHold(FileDescriptor lock) : lock_(std::move(lock)) {}
  FileDescriptor lock_;
};

// Removes caches that nobody holds until the rest takes no more than `most_bytes`, and returns how many were removed.
absl::StatusOr<int> trim(const SharedCaches& caches);

}  // namespace galleon
