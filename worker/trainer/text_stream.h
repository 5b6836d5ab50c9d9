// Text from tokens as they come, in whole characters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/engine/data/tokenizer.h"

namespace galleon {

class TextStream {
 public:
  // The tokenizer must outlive the stream.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // What these tokens add to the text. Tokens that end within a character wait for the next ones.
  std::string add(const std::vector<int32_t>& ids);
  // What is still waiting, as it is.
  std::string finish();

 private:
  std::string take(bool whole_characters);

  const Tokenizer& tokenizer_;
  // Tokens since the last but one piece of text: decoded together with it, so that a token's text is that in its
  // context, and the cost of a token does not grow with the text.
  std::vector<int32_t> recent_;
  size_t told_ = 0;  // of them, those whose text was handed out
};

}  // namespace galleon
