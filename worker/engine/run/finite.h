// Where a number that is not finite sits: asked when a loss or a norm says that there is one, and before anything is
// published.
#pragma once

#include <string>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/optim/optimizer.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// Marks the status that ends a run because a loss, a gradient or a weight is not finite any more.
inline constexpr char kDivergedPayload[] = "galleon/diverged";

// For a message about a loss that is not finite: the first weight that holds such a number, else the one of the largest
// root mean square, as what overflowed is usually it. A collective.
std::string suspected_weight(const std::vector<Parameter>& parameters, Device& device, Communicator& communicator);

// The first weight or piece of optimizer state that is not finite, over all ranks: a collective, with the same answer
// on all of them. Empty: there is none.
std::string first_not_finite(const std::vector<Parameter>& parameters, Optimizer& optimizer, Device& device,
                             Communicator& communicator);

}  // namespace galleon
