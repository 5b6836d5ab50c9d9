// What a job has chosen, as trackers of experiments list it: one value for each key that bears on the result.
#pragma once

#include <vector>

#include "galleon/v1/job.pb.h"
#include "worker/engine/ground/options.h"

namespace galleon {

// The keys that are set and are neither paths, lists nor for the service alone, named and spelt as in a job file, in
// its order.
std::vector<Hyperparameter> hyperparameters_of(const v1::Job& job);

}  // namespace galleon
