// The sequences of an epoch, by number, some of which may still be on their way.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace galleon {

// One sequence as a model reads it.
struct Sequence {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  // as many, language modelling alone; negative is not counted
  int32_t second = 0;            // where the second text of a pair begins; the number of ids: there is none
  float label = 0;               // classification
  uint32_t file = 0;             // its number among the files
};

struct StoreProgress {
  int64_t sequences = 0;  // that can be read
  bool complete = false;  // and there will be no more
  int64_t tokens = 0;     // of all of them
};

class SequenceStore {
 public:
  virtual ~SequenceStore() = default;
  // Waits until `sequences` can be read, all have come, or the time is over. An error of whoever makes them.
  virtual absl::StatusOr<StoreProgress> wait_for(int64_t sequences,
                                                 absl::Duration timeout = absl::InfiniteDuration()) = 0;
  // Sequence `index`, which can be read.
  virtual absl::Status read(int64_t index, Sequence& out) = 0;
  // Targets that the loss counts in it (classification: 1).
  virtual absl::StatusOr<int64_t> targets(int64_t index) = 0;
  // Inputs, padding not counted.
  virtual absl::StatusOr<int64_t> inputs(int64_t index) = 0;
  // Why there will be no more than has come, known before those are used up; OK: there may be more, or all have come.
  virtual absl::Status error() { return absl::OkStatus(); }
  // Rows that were skipped in what has come (data.bad_rows).
  virtual int64_t bad_rows() { return 0; }
  // What a user should know about the data as far as it has been seen: empty files, inputs that were left out.
  virtual std::vector<std::string> notes() = 0;
};

}  // namespace galleon
