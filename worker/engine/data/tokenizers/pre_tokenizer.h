// The steps before a tokenizer's model: normal forms of the text, then its cut into pieces that no token crosses. Both
// are lists as tokenizer.json has them (https://huggingface.co/docs/tokenizers/components).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

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
std::unique_ptr<Normalizer> strip_accents();
std::unique_ptr<Normalizer> replace_text(std::string from, std::string to);
std::unique_ptr<Normalizer> prepend_text(std::string prefix);

struct BertNormalization {
  bool clean_text = true;            // control characters go, white space becomes a space
  bool handle_chinese_chars = true;  // spaces around each
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options);

using PieceSink = std::function<void(absl::string_view piece)>;

// One cut of a piece into smaller ones.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(absl::string_view piece, const PieceSink& sink) const = 0;
};

// What becomes of the separators that a pattern finds.
enum class Separators { kIsolated, kRemoved };
// `invert`: the pattern finds the pieces, and what lies between them separates.
std::unique_ptr<PreTokenizer> split_by(Regex pattern, Separators separators, bool invert);
// Each digit (`individual`) or each run of them is a piece.
std::unique_ptr<PreTokenizer> split_digits(bool individual);
// At white space, which goes, and around each punctuation character (BERT).
std::unique_ptr<PreTokenizer> split_words_and_punctuation();
// A space before a piece that has none.
std::unique_ptr<PreTokenizer> add_prefix_space();
// Spaces become `replacement`, one is put before the text, and pieces begin at it.
std::unique_ptr<PreTokenizer> metaspace(std::string replacement, bool prepend, bool split);

// GPT-2's pattern (Radford 2019, encoder.py): contractions, words, numbers and other marks with the space before them.
extern const char* const kGpt2Pattern;

}  // namespace galleon
