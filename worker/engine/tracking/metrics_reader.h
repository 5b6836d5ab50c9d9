// metrics.jsonl, read from its beginning while another thread appends to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/tracking/metric_scalars.h"

namespace galleon {

struct MetricsLine {
  int64_t step = 0;
  bool evaluation = false;
  int64_t time_ms = 0;  // since 1970; 0: the line was written by a version that did not say
  Scalars scalars;
};

class MetricsReader {
 public:
  MetricsReader(std::string path, bool subspaces) : path_(std::move(path)), subspaces_(subspaces) {}

  // Whole lines behind those that were read before, at most `most`. Errors of the file.
  absl::StatusOr<std::vector<MetricsLine>> read(size_t most);

 private:
  const std::string path_;
  const bool subspaces_;
  int64_t position_ = 0;  // bytes
};

}  // namespace galleon
