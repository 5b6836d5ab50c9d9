// Byte-pair encoding (Sennrich 2016): a piece of text becomes symbols, and the pair that was learned first is merged
// until no learned pair is left. Symbols are bytes (GPT-2's byte-level alphabet) or characters with bytes as a fallback
// (SentencePiece's).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

using Vocabulary = absl::flat_hash_map<std::string, int32_t>;

struct BytePairOptions {
  bool byte_level = true;      // the vocabulary is written in GPT-2's alphabet of 256 printable characters
  bool byte_fallback = false;  // a character that has no symbol becomes <0xNN> for each byte
  bool ignore_merges = false;  // a piece that is in the vocabulary as a whole is that symbol (Llama 3)
  int32_t unknown = -1;        // for what has no symbol; -1: it is left out
  bool fuse_unknown = false;   // neighbours without a symbol are one unknown
  std::string continuation;    // before every symbol of a piece but the first
  std::string ending;          // behind the last symbol of a piece
};

class BytePair {
 public:
  // INVALID_ARGUMENT: a merge whose parts or whole are not in the vocabulary; a byte without a symbol.
  static absl::StatusOr<BytePair> create(const Vocabulary& vocabulary,
                                         const std::vector<std::pair<std::string, std::string>>& merges,
                                         const BytePairOptions& options);

  // Appends the ids of one piece, valid UTF-8.
  void encode(absl::string_view piece, std::vector<int32_t>& ids) const;
  // Where no merge crosses the beginning of a word, which is "▁": hands out the words of a piece, which may be encoded
  // by themselves. Otherwise the whole piece.
  template <typename Sink>
  void for_each_word(absl::string_view piece, Sink sink) const {
    constexpr absl::string_view kMark = "\xE2\x96\x81";
    size_t begin = 0;
    size_t after = 0;  // behind the last mark
    for (size_t at = cuts_at_spaces_ ? piece.find(kMark) : absl::string_view::npos; at != absl::string_view::npos;
         at = piece.find(kMark, after)) {
      if (at > begin && at != after) {
        sink(piece.substr(begin, at - begin));
        begin = at;
      }
      after = at + kMark.size();
    }
    if (begin < piece.size()) sink(piece.substr(begin));
  }

 private:
  struct Merge {
    int32_t order;
    int32_t id;
  };
  void symbols_of_bytes(absl::string_view piece, std::vector<int32_t>& out) const;
  void symbols(absl::string_view piece, std::vector<int32_t>& out) const;
  void add_marked_bytes(const Vocabulary& vocabulary);
  void merge_few(std::vector<int32_t>& symbols) const;
  void merge_many(std::vector<int32_t>& symbols) const;
  const Merge* find(int32_t left, int32_t right) const;

  BytePairOptions options_;
  Vocabulary whole_;  // by the bytes of a symbol
  int32_t byte_symbols_[256] = {};
  int32_t marked_byte_symbols_[2][2][256] = {};  // [is the first][is the last], with a continuation or an ending
  bool has_marks_ = false;
  bool cuts_at_spaces_ = false;  // no merge goes on behind a character with "▁"
  absl::flat_hash_map<uint64_t, Merge> merges_;
};

// GPT-2's character for a byte: printable bytes stand for themselves, the others for code points from 256 on.
std::string byte_character(uint8_t byte);
// The bytes that characters of that alphabet stand for; a text with another character is itself.
std::string bytes_of_alphabet(const std::string& symbol);

}  // namespace galleon
