// Conversations as data files write them, one a line of JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"

namespace galleon {

// The messages of a line, each an object with `role` and `content`. Known are
//   {"messages": [{"role": …, "content": …}, …]}
//   {"conversations": [{"from": "human" | "gpt" | "system", "value": …}, …]}
//   a question and its answer: {"prompt", "completion" or "response"}, {"question", "answer"}, {"instruction", "input"
//   (may be missing), "output" or "response"}; "system" may stand beside them.
// INVALID_ARGUMENT: `where` (file and line) and what is missing.
absl::StatusOr<nlohmann::ordered_json> messages_of(const nlohmann::json& line, const std::string& where);

}  // namespace galleon
