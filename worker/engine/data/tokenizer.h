// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// Tokens that stand for no text. -1: there is none.
struct SpecialTokens {
  int32_t begin = -1;
  int32_t end = -1;  // ends a document; joins documents when they are packed
  int32_t padding = -1;
  int32_t unknown = -1;
  int32_t classify = -1;   // before a sentence or a pair, for encoders
  int32_t separator = -1;  // after each sentence
  int32_t mask = -1;
};

// What stands around each document of text. -1: nothing.
struct DocumentTokens {
  int32_t begin = -1;
  int32_t end = -1;

  // By what a tokenizer's settings say: `begins`, that a document has the begin token; `ends`, that it has the end
  // token. Where they want neither, the end token still sets documents apart.
  static DocumentTokens by_settings(int32_t begin, int32_t end, bool begins, bool ends) {
    DocumentTokens tokens;
    if (begins) tokens.begin = begin;
    if (ends || tokens.begin < 0) tokens.end = end;
    return tokens;
  }
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocabulary() const = 0;
  virtual SpecialTokens special() const = 0;
  int32_t end_token() const { return special().end; }
  int32_t begin_token() const { return special().begin; }
  // What stands around a document where nobody says: what a model was trained with, if that was told, else what the
  // tokenizer's own settings put there.
  DocumentTokens document_tokens() const { return trained_with_.value_or(tokens_by_settings()); }
  virtual DocumentTokens tokens_by_settings() const { return {-1, special().end}; }
  void trained_with(DocumentTokens tokens) { trained_with_ = tokens; }
  // The token that is written so; -1: there is none.
  virtual int32_t token_of(absl::string_view text) const;
  // Ids of the text alone, without begin or end. Appends to `ids`.
  virtual void encode(absl::string_view text, std::vector<int32_t>& ids) const = 0;
  // Ids of a text that goes on behind `before`, as they are in the two together. Appends to `ids`.
  virtual void encode_behind(absl::string_view before, absl::string_view text, std::vector<int32_t>& ids) const;
  // Special tokens as they are written in the text that a chat template makes, and their ids.
  virtual std::vector<std::pair<std::string, int32_t>> marks() const = 0;
  // The ids of such a text: marks are their tokens, what lies between them is encoded. Appends to `ids`.
  virtual void encode_marked(absl::string_view text, std::vector<int32_t>& ids) const;
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  // The files that a checkpoint carries along; empty for raw bytes.
  virtual std::vector<std::string> files() const = 0;

 private:
  std::optional<DocumentTokens> trained_with_;
};

// The tokens around each document. `begin`, `end`: data.begin_token and data.end_token, "auto", "none" or a token's
// text. INVALID_ARGUMENT: with the key, there is no such token.
absl::StatusOr<DocumentTokens> document_tokens(const Tokenizer& tokenizer, const std::string& begin,
                                               const std::string& end);

// "bytes" (ids 0–255 and an end token 256), a SentencePiece .model, a tokenizer.json, or a folder with one of them or
// with vocab.json + merges.txt or vocab.txt; of a folder with several the tokenizer.json, which says most, is taken.
// NOT_FOUND, INVALID_ARGUMENT with the path.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& source);

}  // namespace galleon
