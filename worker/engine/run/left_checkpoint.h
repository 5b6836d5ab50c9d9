// A checkpoint that an earlier attempt wrote whole and could not publish, since its lease ended before the scheduler
// was back: it is offered again under this attempt's epoch, so that those steps need not be trained twice.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/checkpoint/checkpoint.h"

namespace galleon {

// Publishes the newest one beyond step `recorded` that epochs before `epoch` left in `folder`, if `gate` lets it and
// `usable` says that this job can go on with it. Returns its step; 0: there is none. What is damaged, or refused, is
// passed over. One process at a time may call this: who holds the lease.
absl::StatusOr<int64_t> publish_left_checkpoint(const std::string& folder, int64_t recorded, uint64_t epoch,
                                                const std::function<bool(const CheckpointHeader&)>& usable,
                                                const PublicationGate& gate);

}  // namespace galleon
