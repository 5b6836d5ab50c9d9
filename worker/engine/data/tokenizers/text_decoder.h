// From tokens as the vocabulary writes them back to text: the list of a tokenizer.json's decoders.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace galleon {

struct DecodeStep {
  enum class Kind {
    kByteLevel,     // GPT-2's alphabet becomes bytes, and tokens are joined
    kByteFallback,  // <0xNN> becomes a byte
    kReplace,       // `from` becomes `to` in each token
    kFuse,          // tokens are joined
    kStrip,         // up to `first` times `from` at the beginning of each token, `last` at its end, go
    kWordPiece,     // a token begins a word unless it begins with `from`
    kMetaspace,     // `from` becomes a space; at the beginning of the text it goes where `first` is not 0
    kSuffix,        // `from` at the end of a token becomes a space, but not of the last
  };
  Kind kind;
  std::string from = {};
  std::string to = {};
  int64_t first = 0;
  int64_t last = 0;
};

struct WrittenToken {
  std::string text;
  bool added = false;  // stands for itself
};

// The text of tokens. It may end within a character.
std::string decoded(std::vector<WrittenToken> tokens, const std::vector<DecodeStep>& steps);

}  // namespace galleon
