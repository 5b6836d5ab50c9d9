// A line of metrics.jsonl as numbers with names, as those who draw curves take them: TensorBoard's files and MLflow.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace galleon {

using Scalars = std::vector<std::pair<std::string, double>>;  // by name, "train/loss"

// Of a step or of an evaluation. What is not finite, or was not measured, is left out; what says something of subspaces
// alone, where there are none.
Scalars scalars_of(const nlohmann::ordered_json& line, bool subspaces);

}  // namespace galleon
