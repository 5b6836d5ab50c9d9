// Tokens of a corpus in files, made once in the background and read at any place: NAME.tokens (ids as in a token file),
// NAME.sequences (records, with formats that have them) and NAME.json, which says how far both go. The name carries a
// fingerprint of all that the content depends on, so that whoever writes such a file writes the same bytes: a run that
// is resumed goes on behind the last whole input file, and a trainer that lost its lease does no harm.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/files.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/sequence_store.h"

namespace galleon {

// How a cache's files are to be read.
struct CacheShape {
  int width = 2;               // bytes of an id: 2 or 4
  bool has_sequences = false;  // otherwise sequences are windows of the row
  bool has_mask = false;
  bool classifies = false;  // a sequence has one label instead of targets
  int64_t sequence_length = 256;
  bool operator==(const CacheShape&) const = default;
};

// The content of NAME.json.
struct CacheIndex {
  CacheShape shape;
  int64_t tokens = 0;
  int64_t sequences = 0;  // records
  // Where work goes on after an interruption: input files that are in, and what they came to.
  int64_t files_done = 0;
  int64_t tokens_of_files = 0;
  int64_t sequences_of_files = 0;
  bool complete = false;
  int64_t bad_rows_of_files = 0;  // skipped
  int64_t bad_rows = 0;           // the same with those of the file that is not whole yet
  std::vector<std::string> notes;
  std::string error;  // why there will be no more
  int error_code = 0;

  static absl::StatusOr<CacheIndex> read(const std::string& base);
  absl::Status write(const std::string& base) const;
};

// What the thread that writes a cache tells those of its process that read it.
class CacheProgress {
 public:
  void publish(const CacheIndex& index);
  CacheIndex current() const;
  // Waits until `reached` is true of the index, or the time is over, and returns it.
  template <typename Condition>
  CacheIndex wait(const Condition& reached, absl::Duration timeout) const {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto done = [&] { return reached(index_); };
    if (timeout == absl::InfiniteDuration()) {
      changed_.wait(lock, done);
    } else {
      changed_.wait_for(lock, absl::ToChronoMilliseconds(timeout), done);
    }
    return index_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  CacheIndex index_;
};

// Reads a cache, complete or growing. `progress`: of the builder in this process, or null; then NAME.json is looked at
// again and again. ABORTED: there is none, or another rank could not go on with it.
absl::StatusOr<std::unique_ptr<SequenceStore>> open_token_cache(const std::string& base,
                                                                std::shared_ptr<const CacheProgress> progress);

}  // namespace galleon
