// What a job has chosen, as trackers of experiments list it: one value for each key that bears on the result.
#pragma once

#include <string>
#include <vector>

#include "galleon/v1/job.pb.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// The keys that are set and are neither lists nor for the service alone, named and spelt as in a job file, in its
// order; then model.overrides, field by field.
std::vector<Hyperparameter> hyperparameters_of(const v1::Job& job);

// As a job file writes it: 8, 0.01, true.
std::string hyperparameter_text(const HyperparameterValue& value);

}  // namespace galleon
