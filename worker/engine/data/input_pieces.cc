#include "worker/engine/data/input_pieces.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace galleon {

namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool by_lines(InputFormat format) {
  return format == InputFormat::kJsonLines || format == InputFormat::kTsv || format == InputFormat::kChat;
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

InputFormat input_format(const std::string& data_format, const std::string& path) {
  if (data_format == "text") return InputFormat::kText;
  if (data_format == "jsonl") return InputFormat::kJsonLines;
  if (data_format == "tokens") return InputFormat::kTokens;
  if (data_format == "tsv") return InputFormat::kTsv;
  if (data_format == "chat") return InputFormat::kChat;
  absl::string_view name = path;
  for (absl::string_view packed : {".gz", ".zst"}) absl::ConsumeSuffix(&name, packed);
  if (absl::EndsWith(name, ".jsonl") || absl::EndsWith(name, ".json")) return InputFormat::kJsonLines;
  if (absl::EndsWith(name, ".tokens") || absl::EndsWith(name, ".bin")) return InputFormat::kTokens;
  if (absl::EndsWith(name, ".tsv")) return InputFormat::kTsv;
  return InputFormat::kText;
}

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

absl::StatusOr<std::optional<InputPiece>> PieceReader::next() {
  if (file_ == files_.size()) return std::optional<InputPiece>();
  const InputFile& file = files_[file_];
  if (stream_ == nullptr) {
    ASSIGN_OR_RETURN(stream_, open_input(file.path));
    buffer_.clear();
    header_.clear();
    before_.clear();
    ended_ = begun_ = false;
    line_ = 1;
    byte_ = position_ = 0;
  }
  // One byte more than a piece, so that a cut sees what follows it.
  RETURN_IF_ERROR(fill(options_.piece_bytes + 1));
  const bool lines = by_lines(file.format);
  if (!begun_ && file.format != InputFormat::kTokens && absl::StartsWith(buffer_, kByteOrderMark)) {
    buffer_.erase(0, kByteOrderMark.size());
    byte_ = kByteOrderMark.size();
    RETURN_IF_ERROR(fill(options_.piece_bytes + 1));
  }

  InputPiece piece;
  piece.format = file.format;
  piece.file = file_;
  piece.begins_file = !begun_;
  piece.first_line = line_;
  piece.first_byte = byte_;
  size_t cut = buffer_.size();
  if (buffer_.size() > options_.piece_bytes) {
    cut = options_.piece_bytes;
    if (lines) {
      size_t end = buffer_.rfind('\n');
      // A line longer than a piece.
      for (size_t searched = 0; end == std::string::npos && !ended_; end = buffer_.find('\n', searched)) {
        searched = buffer_.size();
        RETURN_IF_ERROR(fill(2 * buffer_.size()));
      }
      cut = end == std::string::npos ? buffer_.size() : end + 1;
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
  if (file.format == InputFormat::kText) {
    piece.before = std::exchange(before_, end_of_text(piece.text));
    piece.ends_document = piece.ends_file;
    if (options_.first_piece_alone) piece.ends_document = piece.ends_file = true;
  }
  if (lines) line_ += std::count(piece.text.begin(), piece.text.end(), '\n');
  if (file.format == InputFormat::kTsv && options_.tsv_header) {
    if (!begun_) {
      const size_t end = std::min(piece.text.find('\n'), piece.text.size());
      header_ = piece.text.substr(0, end);
      piece.text.erase(0, std::min(end + 1, piece.text.size()));
      ++piece.first_line;
      piece.first_byte += static_cast<int64_t>(end) + 1;
    }
    piece.header = header_;
  }
  begun_ = true;
  if (piece.ends_file) {
    stream_.reset();
    ++file_;
  }
  return std::optional<InputPiece>(std::move(piece));
}

}  // namespace galleon
