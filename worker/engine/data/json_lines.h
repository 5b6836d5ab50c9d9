// Rows: lines of JSON, elements of a JSON array, rows of a table.
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

// What becomes of a row's status: where the piece allows it and `bad` is not null, INVALID_ARGUMENT is counted there.
absl::Status counted_bad_row(const InputPiece& piece, BadRows* bad, absl::Status status);

// The same with each line, each element of an array and each row of a table as a JSON object; a table's cells are
// strings by the names of its first row. Bytes that are no UTF-8 become U+FFFD. INVALID_ARGUMENT: what is not an
// object, and what `take` refuses, with file, line (row, of an array) and reason; where the piece allows it, it is
// added to `bad` instead, which may be null.
absl::Status for_each_json_line(
    const InputPiece& piece, const std::string& path, BadRows* bad,
    const std::function<absl::Status(const nlohmann::ordered_json& json, int64_t number)>& take);

}  // namespace galleon
