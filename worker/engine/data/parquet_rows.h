// Parquet files read as JSON lines, by the plug-in around Apache Arrow.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/input_stream.h"

namespace galleon {

// By a file's first bytes.
bool is_parquet(absl::string_view head);

// One line for each row, an object of its columns in the file's order; nested lists and structs as arrays and objects.
// `columns`: the names that are read; none: all. A row group at a time lies in memory. INVALID_ARGUMENT, with the path:
// no Parquet file, a column that is not there, a type that has no form in JSON; UNIMPLEMENTED: the plug-in is not
// there.
absl::StatusOr<std::unique_ptr<InputStream>> open_parquet_rows(const std::string& path,
                                                               const std::vector<std::string>& columns);

}  // namespace galleon
