// The short forms in which Slurm writes lists: of nodes, "node[01-03,7],gpu1", and of a number for each node,
// "2(x3),1".
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// Names in the list's order; of several brackets in a name the last one runs fastest. INVALID_ARGUMENT names what
// cannot be read.
absl::StatusOr<std::vector<std::string>> expand_node_list(absl::string_view list);

// One number for each node.
absl::StatusOr<std::vector<int>> expand_counts(absl::string_view list);

}  // namespace galleon
