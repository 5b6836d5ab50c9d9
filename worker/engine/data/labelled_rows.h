// Rows with labels in whatever they are written: TSV by the places of its columns (tsv.h), CSV, lines of JSON, JSON
// arrays and Parquet by names.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/input_pieces.h"
#include "worker/engine/data/tsv.h"

namespace galleon {

// Calls `take` with each row. INVALID_ARGUMENT: a column that the file lacks; a row that cannot be read, or what `take`
// refuses, with file and line, where the piece does not allow it to be added to `bad`. Rows that the layout leaves out
// are added to `left_out`.
absl::Status for_each_labelled_row(const TsvLayout& layout, const InputPiece& piece, const std::string& path,
                                   BadRows* bad, LeftOut* left_out,
                                   const std::function<absl::Status(const TsvRow& row, int64_t number)>& take);

}  // namespace galleon
