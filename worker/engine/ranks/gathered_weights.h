// Weights in row shards (ZeRO 3): gathered a block at a time, the next one while this one is used.
#pragma once

#include <memory>
#include <vector>

#include "kernels/device.h"
#include "worker/engine/ground/parameters.h"
#include "worker/engine/ground/weight_view.h"
#include "worker/engine/ranks/communicator.h"

namespace galleon {

// Allocates the memory that blocks are gathered into: two of the largest block's size, which take turns, and one for
// the largest matrix that belongs to no block. `parameters` must outlive the view, which sets Parameter::weight in it.
// Without sharded weights nothing is allocated and nothing is sent.
std::unique_ptr<WeightView> make_weight_view(std::vector<Parameter>& parameters, Communicator& communicator,
                                             Arena& arena);

}  // namespace galleon
