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

// The name of the first weight of which this rank holds a number that is NaN or Inf; empty: there is none.
std::string first_weight_not_finite(const std::vector<Parameter>& parameters, Device& device);
// The same over all ranks: a collective.
std::string weight_not_finite(const std::vector<Parameter>& parameters, Device& device, Communicator& communicator);

// The name of the weight of the largest root mean square, with that figure, for a message: what overflowed is usually
// it. All weights are finite. A collective.
std::string largest_weight(const std::vector<Parameter>& parameters, Device& device, Communicator& communicator);

// The first weight or piece of optimizer state that is not finite, over all ranks: a collective, with the same answer
// on all of them. Empty: there is none.
std::string first_not_finite(const std::vector<Parameter>& parameters, Optimizer& optimizer, Device& device,
                             Communicator& communicator);

}  // namespace galleon
