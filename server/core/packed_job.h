// A job in few bytes: what lists filter by, beside the rest of it, compressed. It never changes, so that threads may
// share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "galleon/v1/journal.pb.h"

typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct ZSTD_CDict_s ZSTD_CDict;
typedef struct ZSTD_DCtx_s ZSTD_DCtx;

namespace galleon::server {

using JobLabels = std::vector<std::pair<std::string, std::string>>;

struct JobNumbers {
  uint64_t number = 0;
  uint64_t revision = 0;     // of its last change
  uint64_t first_event = 0;  // revision of the oldest event that it keeps; 0: it keeps none
  uint64_t dropped = 0;      // and of the newest that it does not
  v1::JobRecord::State state = v1::JobRecord::STATE_UNSPECIFIED;
  int64_t create_time_ms = 0;
  int64_t end_time_ms = 0;
};

// What can be told of a job without all of it. It points into what it was taken of.
struct JobFacts : JobNumbers {
  absl::string_view job_id;
  absl::string_view queue;
  absl::string_view owner;
  absl::string_view project;
  absl::string_view group;  // empty: none

  // Has it this label with this value?
  bool labelled(const std::string& key, const std::string& value) const;

  const JobLabels* packed_labels = nullptr;  // one of the two
  const v1::Job* job = nullptr;
};

JobFacts facts_of(const v1::JobState& job);

class PackedJob {
 public:
  JobFacts facts() const;
  uint64_t number() const { return numbers_.number; }
  v1::JobRecord::State state() const { return numbers_.state; }

 private:
  friend class JobPacker;
  friend class JobUnpacker;
  JobNumbers numbers_;
  std::string job_id_;
  std::shared_ptr<const std::string> queue_;  // these four: one for all jobs that have the same; null: empty
  std::shared_ptr<const std::string> owner_;
  std::shared_ptr<const std::string> project_;
  std::shared_ptr<const std::string> group_;
  std::unique_ptr<const JobLabels> labels_;    // null: none
  std::shared_ptr<const std::string> sample_;  // what `body_` was compressed against; null: nothing
  std::string body_;
};

// Jobs resemble each other: each is compressed against some that were packed shortly before. Not for several threads.
class JobPacker {
 public:
  JobPacker();
  ~JobPacker();
  JobPacker(const JobPacker&) = delete;
  JobPacker& operator=(const JobPacker&) = delete;

  std::shared_ptr<const PackedJob> pack(const v1::JobState& job);
  // `body` is the job, serialized.
  std::shared_ptr<const PackedJob> pack(const v1::JobState& job, absl::string_view body);

 private:
  void learn(absl::string_view body);
  std::shared_ptr<const std::string> shared(const std::string& text);

  struct Free {
    void operator()(ZSTD_CCtx* context) const;
    void operator()(ZSTD_CDict* dictionary) const;
  };
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::shared_ptr<const std::string> sample_;
  std::unique_ptr<ZSTD_CDict, Free> dictionary_;  // of sample_
  std::string next_sample_;
  size_t packed_with_sample_ = 0;
  std::unordered_map<std::string, std::shared_ptr<const std::string>> shared_;  // of jobs packed before
  std::string body_;
  std::string compressed_;
};

// Not for several threads: each has its own.
class JobUnpacker {
 public:
  JobUnpacker();
  ~JobUnpacker();
  JobUnpacker(const JobUnpacker&) = delete;
  JobUnpacker& operator=(const JobUnpacker&) = delete;

  // The job, serialized; valid until the next call.
  absl::string_view body(const PackedJob& packed);
  void unpack(const PackedJob& packed, v1::JobState& job);

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const;
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  std::string body_;
};

}  // namespace galleon::server
