#include "worker/engine/data/input_pieces.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/json_array.h"
#include "worker/engine/data/parquet_rows.h"
#include "worker/engine/data/recognition.h"
#include "worker/engine/data/table_rows.h"

namespace galleon {

namespace {

// Of so many characters one may be broken.
constexpr int64_t kBrokenShare = 1000;
constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool by_lines(InputFormat format) {
  return format != InputFormat::kText && format != InputFormat::kTokens;
}

// The last characters of a text, as far as what follows them may depend on them.
std::string end_of_text(absl::string_view text) {
  constexpr size_t kBytes = 64;
  if (text.size() <= kBytes) return std::string(text);
  size_t begin = text.size() - kBytes;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) ++begin;
  return std::string(text.substr(begin));
}

}  // namespace

absl::Status PieceReader::fill(size_t wanted) {
  while (buffer_.size() < wanted && !ended_) {
    const size_t before = buffer_.size();
    buffer_.resize(wanted);
    absl::StatusOr<size_t> n = stream_->read(buffer_.data() + before, wanted - before);
    buffer_.resize(before + (n.ok() ? *n : 0));
    if (!n.ok()) return n.status();
    ended_ = *n == 0;
  }
  return absl::OkStatus();
}

size_t PieceReader::text_cut() const {
  const size_t last = options_.piece_bytes;
  const size_t first = last / 2;
  const auto at = [&](size_t i) { return static_cast<unsigned char>(buffer_[i]); };
  for (size_t cut = last; cut > first; --cut) {
    if (at(cut - 1) == '\n' && absl::ascii_isalnum(at(cut)) && !absl::ascii_isspace(at(cut - 2))) return cut;
  }
  for (size_t cut = last; cut > first; --cut) {
    if (at(cut - 1) == '\n') return cut;
  }
  for (size_t cut = last; cut > first; --cut) {
    if (at(cut) == ' ' && at(cut - 1) != ' ') return cut;
  }
  size_t cut = last;
  while (cut > last - 3 && (at(cut) & 0xC0U) == 0x80U) --cut;
  return cut;
}

// More of a row that the buffer does not hold to its end.
absl::Status PieceReader::fill_row() {
  const size_t most = std::max(options_.longest_row, options_.piece_bytes);
  if (buffer_.size() <= most) return fill(std::min(2 * buffer_.size(), most + 1));
  const InputFile& file = files_[file_];
  return absl::InvalidArgumentError(
      absl::StrCat(file.path, ":", line_, ": a row that does not end in ", most >> 20, " MiB",
                   is_table(file.format) ? "; is a quotation mark open?" : "; is each row a line of its own?"));
}

// Up to the end of the last whole line, or of one that is longer than a piece.
absl::StatusOr<size_t> PieceReader::lines_cut() {
  size_t end = buffer_.rfind('\n');
  for (size_t searched = 0; end == std::string::npos && !ended_; end = buffer_.find('\n', searched)) {
    searched = buffer_.size();
    RETURN_IF_ERROR(fill_row());
  }
  return end == std::string::npos ? buffer_.size() : end + 1;
}

// Up to the end of the last whole row of a table.
absl::StatusOr<size_t> PieceReader::rows_cut() {
  const char separator = separator_of(files_[file_].format);
  while (true) {
    size_t cut = 0;
    while (cut < options_.piece_bytes) {
      const size_t row = row_bytes(absl::string_view(buffer_).substr(cut), separator);
      if (row == std::string::npos) break;
      cut += row;
    }
    if (cut > 0) return cut;
    if (ended_) return buffer_.size();
    RETURN_IF_ERROR(fill_row());
  }
}

absl::Status PieceReader::open() {
  const InputFile& file = files_[file_];
  if (file.format == InputFormat::kParquet) {
    ASSIGN_OR_RETURN(stream_, open_parquet_rows(file.path, options_.columns));
  } else {
    ASSIGN_OR_RETURN(stream_, open_input(file.path));
  }
  if (file.format == InputFormat::kJsonArray) stream_ = json_array_lines(std::move(stream_), file.path);
  buffer_.clear();
  header_.clear();
  before_.clear();
  ended_ = begun_ = false;
  line_ = 1;
  byte_ = position_ = 0;
  // One byte more than a piece, so that a cut sees what follows it.
  RETURN_IF_ERROR(fill(options_.piece_bytes + 1));
  if (file.format != InputFormat::kTokens && absl::StartsWith(buffer_, kByteOrderMark)) {
    buffer_.erase(0, kByteOrderMark.size());
    byte_ = kByteOrderMark.size();
  }
  return absl::OkStatus();
}

absl::Status PieceReader::check_text(InputPiece& piece) const {
  const std::string& path = files_[file_].path;
  if (const size_t nul = piece.text.find('\0'); nul != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a NUL at byte ", piece.first_byte + static_cast<int64_t>(nul), "; it is no text"));
  }
  const BrokenText broken = find_broken_utf8(piece.text);
  piece.broken = broken.count;
  piece.first_broken = piece.first_byte + broken.first;
  // The last piece of a file may be short.
  const int64_t bytes = std::max(static_cast<int64_t>(piece.text.size()),
                                 std::min(piece.first_byte, static_cast<int64_t>(options_.piece_bytes)));
  if (broken.count <= 1 || broken.count * kBrokenShare <= bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", broken.count, " characters in ", piece.text.size(),
                                                 " bytes are not UTF-8, the first at byte ", piece.first_broken,
                                                 "; if it is Latin-1, iconv -f LATIN1 -t UTF-8 converts it"));
}

// The names of a table's columns are kept for all its pieces.
void PieceReader::take_header(InputPiece& piece) {
  if (!begun_) {
    const bool table = is_table(piece.format);
    const size_t row = table ? row_bytes(piece.text, separator_of(piece.format)) : piece.text.find('\n');
    const size_t end = row == std::string::npos ? piece.text.size() : table ? row - 1 : row;
    header_ = piece.text.substr(0, end);
    const size_t taken = std::min(end + 1, piece.text.size());
    piece.first_line += 1 + std::count(header_.begin(), header_.end(), '\n');
    piece.first_byte += static_cast<int64_t>(taken);
    piece.text.erase(0, taken);
  }
  piece.header = header_;
}

absl::StatusOr<std::optional<InputPiece>> PieceReader::next() {
  if (file_ == files_.size()) return std::optional<InputPiece>();
  const InputFile& file = files_[file_];
  if (stream_ == nullptr) {
    RETURN_IF_ERROR(open());
  }
  RETURN_IF_ERROR(fill(options_.piece_bytes + 1));
  const bool lines = by_lines(file.format);

  InputPiece piece;
  piece.format = file.format;
  piece.file = file_;
  piece.skip_bad_rows = options_.skip_bad_rows;
  piece.begins_file = !begun_;
  piece.first_line = line_;
  piece.first_byte = byte_;
  size_t cut = buffer_.size();
  if (buffer_.size() > options_.piece_bytes) {
    if (is_table(file.format)) {
      ASSIGN_OR_RETURN(cut, rows_cut());
    } else if (lines) {
      ASSIGN_OR_RETURN(cut, lines_cut());
    } else if (file.format == InputFormat::kTokens) {
      cut = options_.piece_bytes / 4 * 4;
    } else {
      cut = text_cut();
    }
  }
  piece.text = buffer_.substr(0, cut);
  buffer_.erase(0, cut);
  byte_ += static_cast<int64_t>(cut);
  RETURN_IF_ERROR(fill(1));
  piece.ends_file = buffer_.empty();
  piece.file_bytes = stream_->position() - position_;
  position_ = stream_->position();
  if (file.format != InputFormat::kTokens) {
    RETURN_IF_ERROR(check_text(piece));
  }
  if (file.format == InputFormat::kText) {
    piece.before = std::exchange(before_, end_of_text(piece.text));
    piece.ends_document = piece.ends_file;
    if (options_.first_piece_alone) piece.ends_document = piece.ends_file = true;
  }
  if (lines) line_ += std::count(piece.text.begin(), piece.text.end(), '\n');
  if ((file.format == InputFormat::kTsv && options_.tsv_header) || is_table(file.format)) {
    take_header(piece);
  }
  begun_ = true;
  if (piece.ends_file) {
    stream_.reset();
    ++file_;
  }
  return std::optional<InputPiece>(std::move(piece));
}

}  // namespace galleon
