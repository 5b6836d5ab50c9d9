// Rows of CSV files (RFC 4180) and of tab-separated files that are quoted in the same way.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// Bytes of the first row of `text` with its line end; npos: it does not end within it. A line break within a quoted
// cell belongs to the cell.
size_t row_bytes(absl::string_view text, char separator);

// The cells of one row, unquoted. A cell is quoted if it begins with a quotation mark; a doubled one within it stands
// for one. INVALID_ARGUMENT: a quoted cell that does not end, or goes on behind its end; the reason alone.
absl::StatusOr<std::vector<std::string>> cells_of_row(absl::string_view row, char separator);

}  // namespace galleon
