// Weights of a Hugging Face folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ground/parameters.h"

namespace galleon {

// A parameter's shape in a file: [out] of a vector, else [out, in].
std::vector<int64_t> stored_shape(const Parameter& p);

// Loads weights alone, adapters left out, from a Hugging Face folder (model.safetensors, else the shards of
// model.safetensors.index.json). Missing, extra and misshapen tensors are named with both shapes, and so is one that
// holds NaN or Inf, that lies in two files, or a head that differs from the embedding that it is tied to. The heads
// that an encoder was pretrained with are passed over. Where `fresh` is given, layers of a classifier may be missing:
// they keep the weights that they have, and their names are appended. Where `grown_from` is given, the embedding and
// the head may have so many rows alone; each further one becomes their mean, in double precision and in the order of
// the rows.
absl::Status load_weights(const std::string& folder, const std::vector<Parameter>& parameters, Device& device,
                          std::vector<std::string>* fresh = nullptr, int64_t grown_from = 0);

// The same, with each weight handed over as it lies in the folder, in fp32 and one at a time. The first error that
// `take` returns ends it.
using TakeWeight = std::function<absl::Status(const Parameter& parameter, std::vector<float> values)>;
absl::Status visit_weights(const std::string& folder, const std::vector<Parameter>& parameters, const TakeWeight& take,
                           std::vector<std::string>* fresh = nullptr, int64_t grown_from = 0);

// Whether load_weights would find what it needs, from the files' headers alone (but for a head beside a tied
// embedding): the parameters need no memory.
absl::Status check_weights(const std::string& folder, const std::vector<Parameter>& parameters,
                           std::vector<std::string>* fresh = nullptr, int64_t grown_from = 0);

// bf16 if all weights of a Hugging Face folder are, otherwise fp32: what to compute in where nobody says.
absl::StatusOr<DataType> stored_weight_type(const std::string& folder);

}  // namespace galleon
