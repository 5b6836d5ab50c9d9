// The tokens that end a text, as a model's folder names them: eos_token_id of config.json and of
// generation_config.json, each a number or a list.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

// In their order, each once; none where neither file names one. INVALID_ARGUMENT: a file that is not JSON, or an
// eos_token_id that is neither.
absl::StatusOr<std::vector<int32_t>> end_tokens_of_folder(const std::string& folder);

}  // namespace galleon
