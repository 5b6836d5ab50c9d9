// What a parameter's place in the model says of its learning rate and decay.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "worker/engine/ground/options.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

const GroupOptions& group_of(const OptimizerOptions& options, const Parameter& p);

// The rates of "embedding", "head" and "vectors" while matrices have `rate`; empty where all have it.
std::vector<std::pair<std::string, double>> rates_beside(const OptimizerOptions& options, double rate);

}  // namespace galleon
