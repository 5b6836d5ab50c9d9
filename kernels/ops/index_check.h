// Ids, targets and lengths that operations use as indices.
#pragma once

#include <string>

#include "kernels/device.h"
#include "kernels/operation_table.h"

namespace galleon {

// "embedding: id -1 of token 3 is outside a vocabulary of 256".
std::string outside_text(const IndexRange& range, int64_t index, int32_t value);

// Ends the process if a number of the vector lies outside `range`: at once where the host sees the device's memory; on
// a GPU, where looking would wait for everything asked of it before, when anything is next read from it.
void check_indices(Device& device, const Tensor& numbers, const IndexRange& range);

}  // namespace galleon
