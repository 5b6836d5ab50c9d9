// Lines of JSON.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/data/input_pieces.h"

namespace galleon {

// "PATH:LINE"
std::string line_name(const std::string& path, int64_t line);

// Calls `take` with each line that is not blank, without its line end.
absl::Status for_each_line(const InputPiece& piece,
                           const std::function<absl::Status(absl::string_view line, int64_t number)>& take);

// The same with each line as a JSON object. Bytes that are no UTF-8 become U+FFFD. INVALID_ARGUMENT: what is not an
// object, with file and line. Keys keep their order.
absl::Status for_each_json_line(
    const InputPiece& piece, const std::string& path,
    const std::function<absl::Status(const nlohmann::ordered_json& json, int64_t number)>& take);

}  // namespace galleon
