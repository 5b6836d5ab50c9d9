// WordPiece (Schuster & Nakajima 2012, as in BERT): a word is cut greedily into the longest pieces of the vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/data/tokenizers/byte_pair.h"

namespace galleon {

struct WordPieceOptions {
  int32_t unknown = -1;
  std::string continuation = "##";  // before every piece of a word but the first
  int64_t longest_word = 100;       // in characters; a longer one is unknown
};

class WordPiece {
 public:
  WordPiece(Vocabulary vocabulary, WordPieceOptions options);
  // Appends the pieces of one word, or the unknown token alone where it cannot be cut.
  void encode(absl::string_view word, std::vector<int32_t>& ids) const;

 private:
  Vocabulary vocabulary_;
  WordPieceOptions options_;
};

// A whole word is a token, or the unknown one.
class WordLevel {
 public:
  WordLevel(Vocabulary vocabulary, int32_t unknown) : vocabulary_(std::move(vocabulary)), unknown_(unknown) {}
  void encode(absl::string_view word, std::vector<int32_t>& ids) const;

 private:
  Vocabulary vocabulary_;
  int32_t unknown_;
};

}  // namespace galleon
