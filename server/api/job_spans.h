// A job's life as spans of a trace: the job, each wait in its queue, each attempt, and in it the steps up to each
// checkpoint. A span is told once, when it is over.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "galleon/v1/journal.pb.h"
#include "otlp/traces.pb.h"

namespace galleon::server {

namespace otlp = ::opentelemetry::proto::collector::trace::v1;

class JobSpans {
 public:
  // What is over of this job and has not been told. What was over when it is first seen is told too, if `all`.
  std::vector<otlp::Span> of(const v1::JobState& job, bool all);
  void forget(const std::string& job_id) { seen_.erase(job_id); }
  size_t jobs() const { return seen_.size(); }

 private:
  struct Seen {
    uint32_t begun = 0;  // attempts whose wait was told
    uint32_t ended = 0;
    uint64_t step = 0;  // of the newest checkpoint that was told
    int64_t step_time_ms = 0;
    bool told = false;  // that it has ended
  };
  std::map<std::string, Seen> seen_;
};

}  // namespace galleon::server
