// Input files cut into pieces that threads can encode one by one: whole lines of files that are read by lines,
// stretches of a text document, whole ids of a token file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/input_stream.h"

namespace galleon {

// Part of a cache's fingerprint by number. kTsv: labelled rows; kTabRows: rows that have a text or a conversation.
enum class InputFormat { kText, kJsonLines, kTokens, kTsv, kChat, kJsonArray, kCsv, kTabRows, kParquet };

// Whether a file has a row of names first and quoted cells.
inline bool is_table(InputFormat format) {
  return format == InputFormat::kCsv || format == InputFormat::kTabRows;
}
inline char separator_of(InputFormat format) {
  return format == InputFormat::kCsv ? ',' : '\t';
}

struct InputPiece {
  InputFormat format = InputFormat::kText;
  size_t file = 0;         // its number among all files
  int64_t first_line = 1;  // of `text`, in files that are read by lines
  int64_t first_byte = 0;  // of `text`, unpacked
  int64_t file_bytes = 0;  // of the file, as it lies on the disk, that were read for this piece
  std::string text;
  std::string before;        // the last characters of the document before `text`, where it goes on from another piece
  std::string header;        // the first line of a TSV or CSV file
  int64_t broken = 0;        // characters that are broken UTF-8
  int64_t first_broken = 0;  // byte of the file, unpacked
  bool skip_bad_rows = false;
  bool begins_file = false;
  bool ends_document = true;  // false: the document goes on with the next piece
  bool ends_file = false;
};

constexpr size_t kBadRowsNamed = 5;

// Rows that cannot be read, which a job may skip (data.bad_rows).
struct BadRows {
  int64_t count = 0;
  std::vector<std::string> first;  // up to kBadRowsNamed of them, each with file, line and reason
  void add(const BadRows& other);
};

struct InputFile {
  std::string path;
  InputFormat format = InputFormat::kText;
};

struct PieceOptions {
  size_t piece_bytes = 1 << 18;  // about; a line is never cut
  // Of a row with its line end: an open quote, or a file without line ends, must not be held as a whole.
  size_t longest_row = size_t{64} << 20;
  bool first_piece_alone = false;  // of a text document; the rest is left out
  bool skip_bad_rows = false;
  bool tsv_header = true;            // whether the first line of a TSV file names its columns
  std::vector<std::string> columns;  // of Parquet files that are read; none: all
};

// Reads one file after the other. Text is cut behind the end of a line whose neighbours leave a tokenizer's pattern no
// choice (…word\nWord…) where there is one, else at another line end, white space or character, always at the same
// places. A byte-order mark is left out. What is no text is refused: by the first bytes of a file, for a NUL, and for
// broken UTF-8 beyond a trace, which is one character or 1 in 1,000 bytes. Each file ends with a piece that says so,
// which may be empty.
class PieceReader {
 public:
  PieceReader(std::vector<InputFile> files, size_t first_file, const PieceOptions& options)
      : files_(std::move(files)), options_(options), file_(first_file) {}
  // nullopt: all files have been read. Errors name the path.
  absl::StatusOr<std::optional<InputPiece>> next();

 private:
  absl::Status fill(size_t wanted);
  size_t text_cut() const;
  absl::Status open();
  absl::Status fill_row();
  absl::StatusOr<size_t> rows_cut();
  absl::StatusOr<size_t> lines_cut();
  void take_header(InputPiece& piece);
  absl::Status check_text(InputPiece& piece) const;

  std::vector<InputFile> files_;
  PieceOptions options_;
  size_t file_ = 0;
  std::unique_ptr<InputStream> stream_;  // of files_[file_], null before it is opened
  std::string buffer_;                   // read, and not handed out yet
  bool ended_ = false;                   // the stream has
  bool begun_ = false;                   // a piece of this file was handed out
  int64_t line_ = 1;
  int64_t byte_ = 0;
  int64_t position_ = 0;  // in the file as it lies on the disk
  std::string header_;
  std::string before_;
};

}  // namespace galleon
