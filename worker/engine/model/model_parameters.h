// Which parameters a network has.
#pragma once

#include <optional>
#include <vector>

#include "worker/engine/ground/parameters.h"
#include "worker/engine/model/model_config.h"

namespace galleon {

// All parameters of a network in the order of Hugging Face's modules, with `galore` deciding ranks and orientation.
std::vector<Parameter> model_parameters(const ModelConfig& config, const std::optional<GaloreOptions>& galore);

}  // namespace galleon
