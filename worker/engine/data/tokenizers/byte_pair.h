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
};

class BytePair {
 public:
  // INVALID_ARGUMENT: a merge whose parts or whole are not in the vocabulary; a byte without a symbol.
  static absl::StatusOr<BytePair> create(const Vocabulary& vocabulary,
                                         const std::vector<std::pair<std::string, std::string>>& merges,
                                         const BytePairOptions& options);

  // Appends the ids of one piece, valid UTF-8.
  void encode(absl::string_view piece, std::vector<int32_t>& ids) const;
  // Appends the bytes that a symbol stands for.
  void decode(int32_t id, std::string& bytes) const;

 private:
  struct Merge {
    int32_t order;
    int32_t id;
  };
  void symbols(absl::string_view piece, std::vector<int32_t>& out) const;
  void merge_few(std::vector<int32_t>& symbols) const;
  void merge_many(std::vector<int32_t>& symbols) const;
  const Merge* find(int32_t left, int32_t right) const;

  BytePairOptions options_;
  Vocabulary whole_;  // by the bytes of a symbol
  int32_t byte_symbols_[256] = {};
  absl::flat_hash_map<uint64_t, Merge> merges_;
  absl::flat_hash_map<int32_t, std::string> bytes_;
};

// GPT-2's character for a byte: printable bytes stand for themselves, the others for code points from 256 on.
std::string byte_character(uint8_t byte);

}  // namespace galleon
