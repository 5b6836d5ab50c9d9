// Normal forms of a text, before it is cut: lists as tokenizer.json has them
// (https://huggingface.co/docs/tokenizers/components).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/data/tokenizers/regex.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {

// One change of a whole text.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(absl::string_view text) const = 0;
};

std::unique_ptr<Normalizer> normal_form(NormalForm form);
std::unique_ptr<Normalizer> lower_case_normalizer();
// Combining marks go.
std::unique_ptr<Normalizer> strip_accents();
// White space at the ends goes.
std::unique_ptr<Normalizer> strip_ends(bool left, bool right);
std::unique_ptr<Normalizer> replace_text(std::string from, std::string to);
std::unique_ptr<Normalizer> replace_pattern(Regex pattern, std::string to);
std::unique_ptr<Normalizer> prepend_text(std::string prefix);
// The clean-up of machine translation in SentencePiece: control characters go, odd white space becomes a space.
std::unique_ptr<Normalizer> nmt_normalizer();

struct BertNormalization {
  bool clean_text = true;            // control characters go, white space becomes a space
  bool handle_chinese_chars = true;  // spaces around each
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options);

// SentencePiece's table of replacements: the size of a double-array trie (32 bits), the trie, and texts that end in
// NUL. `table`: as bytes. Clusters of up to five bytes, then characters, are looked up by their beginnings, as the
// package `tokenizers` does. INVALID_ARGUMENT: it is not sound. `growth`: at most, of a text's bytes.
absl::StatusOr<std::unique_ptr<Normalizer>> table_normalizer(std::string table, double& growth);

}  // namespace galleon
