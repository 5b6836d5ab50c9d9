// A tokenizer as its files describe it, before it is put to work.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizers/byte_pair.h"
#include "worker/engine/data/tokenizers/pre_tokenizer.h"
#include "worker/engine/data/tokenizers/word_piece.h"

namespace galleon {

// A token that stands in the text as it is, outside the model's vocabulary of pieces.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;      // left out when ids become text
  bool strips_left = false;  // takes the white space before it
  bool strips_right = false;
};

struct TokenizerComponents {
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers;
  std::variant<std::monostate, BytePair, WordPiece> model;
  std::vector<AddedToken> added;
  Vocabulary vocabulary;
  double growth = 1;       // of a text, at most, by replacements
  bool metaspace = false;  // ids become text by turning "▁" into spaces
};

// From a tokenizer.json. INVALID_ARGUMENT names `where` and the component.
absl::StatusOr<TokenizerComponents> components_from_json(const nlohmann::json& json, const std::string& where);
// From vocab.json and merges.txt: GPT-2's and RoBERTa's byte-level BPE.
absl::StatusOr<TokenizerComponents> components_from_bpe_files(const std::string& folder);
// From vocab.txt: BERT's WordPiece. `lowercase`: as tokenizer_config.json's do_lower_case says.
absl::StatusOr<TokenizerComponents> components_from_word_piece_file(const std::string& folder, bool lowercase);

}  // namespace galleon
