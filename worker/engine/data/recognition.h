// What a file holds, told by its content: rows of JSON or text are read, and what is neither is refused by its kind.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/input_pieces.h"

namespace galleon {

// The format of a file under the job file's data.format. With "auto": token files, TSV and CSV by their names; JSON
// lines where the first line that is not blank is a JSON object, or the name says so; an array of objects likewise; the
// rest is text. With "jsonl" and "chat" rows may also lie in one array, and under "chat" in a file named .csv or .tsv.
// INVALID_ARGUMENT: a file of a kind that is not read, by name. Errors of opening and unpacking.
absl::StatusOr<InputFormat> recognise(const std::string& data_format, const std::string& path);
// The same of labelled rows. With "auto": JSON by its first line or name, CSV by its name, else TSV without quoting.
absl::StatusOr<InputFormat> recognise_rows(const std::string& data_format, const std::string& path);

// The kind of a file that is no text by its first bytes (512 are enough), as in "is a Parquet file"; empty: none that
// is known. `unpacked`: the bytes come out of a compressed file.
std::string foreign_kind(absl::string_view head, bool unpacked);

// Broken UTF-8 that stands in a text: how many characters would become U+FFFD, and where the first begins.
struct BrokenText {
  int64_t count = 0;
  int64_t first = 0;  // byte within the text
};
BrokenText find_broken_utf8(absl::string_view text);

}  // namespace galleon
