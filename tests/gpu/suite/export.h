// One step of a model for another program to compute the same: what it began with and what came out.
#pragma once

#include <memory>
#include <string>

#include "worker/engine/run/engine.h"

namespace galleon::gpu {

// The step whose update shows the gradient: plain SGD with a rate at which the weights before it are nothing.
EngineShape export_shape(const ModelConfig& config, int64_t sequence, int64_t sequences);

// Into the folder: index.json (shape, loss, and of each weight its name, shape and where it lies), weights.bin (bf16,
// Hugging Face's layout), tokens.bin (int32: ids, then targets) and gradients.bin (fp32: of the first, the middle and
// the last block and of what is in no block). tests/gpu/against.py reads it.
absl::Status export_step(const EngineShape& shape, std::unique_ptr<Device> device, const std::string& folder);

}  // namespace galleon::gpu
