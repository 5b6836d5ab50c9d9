// The cut of a text into pieces that no token crosses: lists as tokenizer.json has them
// (https://huggingface.co/docs/tokenizers/components).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "worker/engine/data/tokenizers/regex.h"

namespace galleon {

// `first`: the piece begins where the text begins.
using PieceSink = std::function<void(absl::string_view piece, bool first)>;

// One cut of a piece into smaller ones, none of them empty.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(absl::string_view piece, bool first, const PieceSink& sink) const = 0;
};

// What becomes of the separators that a pattern finds: pieces of their own, nothing, a part of the piece before or
// behind them, or one piece with their neighbours.
enum class Separators { kIsolated, kRemoved, kWithPrevious, kWithNext, kContiguous };
// `invert`: what the pattern finds is not separators but what lies between them.
std::unique_ptr<PreTokenizer> split_by(Regex pattern, Separators separators, bool invert);
// The same, with single characters that separate.
std::unique_ptr<PreTokenizer> split_by(bool (*separates)(int32_t code_point), Separators separators);
std::unique_ptr<PreTokenizer> split_by(int32_t code_point, Separators separators);
// Runs of word characters and runs of other marks, without white space.
std::unique_ptr<PreTokenizer> split_words_and_marks();
// At white space, which goes, and around each punctuation character (BERT).
std::unique_ptr<PreTokenizer> split_words_and_punctuation();
// A space before a piece that has none.
std::unique_ptr<PreTokenizer> add_prefix_space();

enum class Prepend { kNever, kFirst, kAlways };
// Spaces become `replacement`, one is put before every piece or before the first of a text, and pieces begin at it.
std::unique_ptr<PreTokenizer> metaspace(std::string replacement, Prepend prepend, bool split);

// GPT-2's pattern (Radford 2019, encoder.py): contractions, words, numbers and other marks with the space before them.
extern const char* const kGpt2Pattern;

}  // namespace galleon
