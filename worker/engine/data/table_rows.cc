#include "worker/engine/data/table_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace galleon {

size_t row_bytes(absl::string_view text, char separator) {
  bool begins_cell = true;
  for (size_t i = 0; i < text.size(); ++i) {
    if (begins_cell && text[i] == '"') {
      // To the mark that closes the cell: one that no other follows.
      for (++i; i < text.size(); ++i) {
        if (text[i] != '"') continue;
        if (i + 1 == text.size() || text[i + 1] != '"') break;
        ++i;
      }
      if (i >= text.size()) return absl::string_view::npos;
    } else if (text[i] == '\n') {
      return i + 1;
    }
    begins_cell = text[i] == separator;
  }
  return absl::string_view::npos;
}

absl::StatusOr<std::vector<std::string>> cells_of_row(absl::string_view row, char separator) {
  absl::ConsumeSuffix(&row, "\n");
  absl::ConsumeSuffix(&row, "\r");
  std::vector<std::string> cells;
  size_t at = 0;
  while (true) {
    std::string cell;
    if (at < row.size() && row[at] == '"') {
      bool closed = false;
      for (++at; at < row.size() && !closed; ++at) {
        if (row[at] == '"' && at + 1 < row.size() && row[at + 1] == '"') {
          cell.push_back(row[at++]);
        } else if (row[at] == '"') {
          closed = true;
        } else {
          cell.push_back(row[at]);
        }
      }
      if (!closed) return absl::InvalidArgumentError("a quoted cell does not end");
      if (at < row.size() && row[at] != separator)
        return absl::InvalidArgumentError(absl::StrCat("cell ", cells.size() + 1, " goes on behind its closing quote"));
    } else {
      const size_t end = std::min(row.find(separator, at), row.size());
      cell = std::string(row.substr(at, end - at));
      at = end;
    }
    cells.push_back(std::move(cell));
    if (at >= row.size()) return cells;
    ++at;
  }
}

}  // namespace galleon
