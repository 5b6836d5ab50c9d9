// What a plan says of a mixture of data.train, before any of it is tokenized.
#pragma once

#include <cstdint>
#include <string>

#include "worker/engine/ground/options.h"

namespace galleon {

// The shares, what the steps draw from each source, and how often they pass through those whose sequences can be
// counted as they lie there: token files. Empty: nothing is mixed.
std::string mixture_note(const RunOptions& options, int64_t vocabulary);

}  // namespace galleon
