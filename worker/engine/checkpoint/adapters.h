// The part of a checkpoint that only a run with adapters has: model.safetensors holds the merged matrices, from which
// neither the frozen ones nor the adapters come back exactly, so both are kept beside the optimizer's state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/checkpoint/safetensors.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

// Within a checkpoint's folder.
inline constexpr const char* kAdaptersFile = "optimizer/adapters.safetensors";

// Frozen matrices that have an adapter, and the adapters, by their indices. Empty if there are none.
std::vector<int> adapter_parameters(const std::vector<Parameter>& parameters);

// The same from a checkpoint's folder, over what load_weights took from its merged matrices. DATA_LOSS names what is
// missing or misshapen.
absl::Status load_adapters(const std::string& step_folder, const std::vector<Parameter>& parameters, Device& device);

}  // namespace galleon
