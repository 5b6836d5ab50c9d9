// Weights of a Hugging Face folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

// A parameter's shape in a file: [out] of a vector, else [out, in].
std::vector<int64_t> stored_shape(const Parameter& p);

// Loads weights alone, adapters left out, from a Hugging Face folder (model.safetensors, or shards by
// model.safetensors.index.json). Missing, extra and misshapen tensors are named with both shapes, and so is one that
// holds NaN or Inf. The heads that an encoder was pretrained with are passed over. Where `fresh` is given, layers of a
// classifier may be missing: they keep the weights that they have, and their names are appended.
absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh = nullptr);

// Whether load_weights would find what it needs, from the files' headers alone: the parameters need no memory.
absl::Status check_weights(const std::string& folder, const std::vector<Parameter>& parameters,
                           std::vector<std::string>* fresh = nullptr);

// bf16 if all weights of a Hugging Face folder are, otherwise fp32: what to compute in where nobody says.
absl::StatusOr<DataType> stored_weight_type(const std::string& folder);

}  // namespace galleon
