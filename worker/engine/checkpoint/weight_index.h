// model.safetensors.index.json: which file holds which tensor.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// The files that the text of an index names, each once; `path` names the index in errors. DATA_LOSS: it is damaged, or
// names what does not lie beside it.
absl::StatusOr<std::vector<std::string>> names_of_index(absl::string_view text, const std::string& path);

}  // namespace galleon
