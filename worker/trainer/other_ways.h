// Beside a plan: the same job done in other ways, and changes with which it would fit.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/plan.pb.h"
#include "worker/engine/run/engine.h"

namespace galleon {

// Full-rank AdamW by dense data parallelism (every rank holds everything; gradients are all-reduced in a ring, in the
// wire's type) and under ZeRO 1, 2 and 3, each as the first rank sees it.
absl::StatusOr<std::vector<v1::OtherWay>> other_ways(const EngineShape& shape, absl::string_view device_kind,
                                                     int ranks);

// Changes with which the first rank takes at most `available` bytes, `process` of them beside the ledger. First those
// of one key that are enough, the least costly first; where none is, the fewest together, in the same order. Empty:
// nothing that is known here would do.
absl::StatusOr<std::vector<v1::FittingChange>> fitting_changes(const EngineShape& shape, absl::string_view device_kind,
                                                               int ranks, int64_t process, int64_t available);

}  // namespace galleon
