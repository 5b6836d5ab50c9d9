// Paths of a job, by their names alone: nothing is looked up.
#pragma once

#include <string>

#include "galleon/v1/job.pb.h"

namespace galleon::server {

// The folder of checkpoints below the job's own; empty: it is not plainly below it.
std::string checkpoints_of(const v1::Job& job);

// Is it one of the folder's own, by its name alone?
bool lies_below(const std::string& path, const std::string& folder);

}  // namespace galleon::server
