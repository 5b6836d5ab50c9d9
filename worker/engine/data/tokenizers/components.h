// A tokenizer as its files describe it, before it is put to work.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizers/added_tokens.h"
#include "worker/engine/data/tokenizers/byte_pair.h"
#include "worker/engine/data/tokenizers/normalizer.h"
#include "worker/engine/data/tokenizers/pre_tokenizer.h"
#include "worker/engine/data/tokenizers/text_decoder.h"
#include "worker/engine/data/tokenizers/unigram.h"
#include "worker/engine/data/tokenizers/word_piece.h"

namespace galleon {

struct TokenizerComponents {
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  bool byte_level = false;  // pieces are written in GPT-2's alphabet
  std::variant<std::monostate, BytePair, WordPiece, Unigram, WordLevel> model;
  std::vector<AddedToken> added;
  Vocabulary vocabulary;
  std::vector<DecodeStep> decoders;
  double growth = 1;  // of a text, at most, by replacements
  // What the post-processor puts around a text; -1: nothing.
  int32_t before_text = -1;
  int32_t behind_text = -1;
  // As the file says, where it has such a component.
  std::optional<bool> adds_prefix_space;
  std::optional<BertNormalization> bert;
};

// From a tokenizer.json. INVALID_ARGUMENT names `where`, the component and its field.
absl::StatusOr<TokenizerComponents> components_from_json(const nlohmann::json& json, const std::string& where);
// From vocab.json and merges.txt: GPT-2's and RoBERTa's byte-level BPE.
absl::StatusOr<TokenizerComponents> components_from_bpe_files(const std::string& folder, bool prefix_space);
// From vocab.txt: BERT's WordPiece.
absl::StatusOr<TokenizerComponents> components_from_word_piece_file(const std::string& folder,
                                                                    const BertNormalization& normalization);

// Of the parts of a tokenizer.json, each in the order in which they are needed.
absl::Status add_normalizers(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
absl::Status add_pre_tokenizers(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
absl::Status read_model(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
absl::Status read_added_tokens(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
absl::Status read_post_processor(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
absl::Status add_decoders(const nlohmann::json& json, const std::string& where, TokenizerComponents& out);
// From vocab.json: by symbol, its id.
absl::StatusOr<Vocabulary> read_vocabulary(const nlohmann::json& json, const std::string& where);
// One token of `added_tokens`, or of tokenizer_config.json's `added_tokens_decoder`, with the id that it has there.
absl::StatusOr<AddedToken> read_added_token(const nlohmann::json& json, int64_t id, const std::string& where);
// Joins a token to those that are there. INVALID_ARGUMENT: it is known with another id.
absl::Status join_added_token(AddedToken token, const std::string& where, TokenizerComponents& out);

constexpr int64_t kLargestTokenId = 1 << 24;

}  // namespace galleon
