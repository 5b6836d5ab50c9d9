// Plans and ledgers as messages.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/job.pb.h"
#include "galleon/v1/plan.pb.h"
#include "kernels/ledger.h"
#include "worker/engine/run/engine.h"

namespace galleon {

void set_wire_bytes(const SentBytes& sent, v1::WireBytes& message);
void set_categories(const int64_t (&bytes)[kMemoryCategories], v1::MemoryByCategory& message);

// What `ranks` ranks of that shape will hold and send, by a dry run of each. `available`: bytes that a rank may take,
// 0: any.
absl::StatusOr<v1::MemoryPlan> plan_message(const EngineShape& shape, absl::string_view device_kind, int ranks,
                                            int64_t text_bytes, int64_t available);

// How long a step would take on a card of that name, at its peak rates. NOT_FOUND names the cards that are known.
absl::StatusOr<v1::StepPrediction> prediction_message(const EngineShape& shape, const std::string& card, int ranks);

// The ledger of one rank that has allocated everything on a device of that kind, in the form of a plan, with the same
// job's full-rank state beside it.
absl::StatusOr<v1::MemoryPlan> ledger_message(const EngineShape& shape, absl::string_view device_kind,
                                              const Ledger& ledger, int rank, int ranks);

}  // namespace galleon
