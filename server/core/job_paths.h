// Paths of a job, by their names alone: nothing is looked up.
#pragma once

#include <string>
#include <vector>

#include "galleon/v1/job.pb.h"

namespace galleon::server {

// The folder of checkpoints below the job's own; empty: it is not plainly below it.
std::string checkpoints_of(const v1::Job& job);

// Where a job reads: its model, tokenizer, data, and the checkpoint with which it begins. Names that are no paths may
// be among them.
std::vector<std::string> read_paths(const v1::Job& job);

// The first part of a path that lies below `folder`; empty: it does not, by its name alone.
std::string first_below(const std::string& path, const std::string& folder);

// Is it one of the folder's own, by its name alone?
bool lies_below(const std::string& path, const std::string& folder);

}  // namespace galleon::server
