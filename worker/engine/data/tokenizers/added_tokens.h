// Tokens that stand in a text as they are, outside a model's vocabulary of pieces, and where they are found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace galleon {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;      // left out when ids become text
  bool strips_left = false;  // takes the white space before it
  bool strips_right = false;
  bool single_word = false;  // not where a word goes on at either side
  bool normalized = false;   // looked for in the text that is normalized, in its own normal form
};

// Finds tokens in a text: of those that begin at a place the longest, from left to right.
class AddedTokenFinder {
 public:
  // `form`: what is looked for, which may differ from the content. Not empty.
  void add(std::string form, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  // A stretch of the text, and the id of the token that it is; -1: none.
  struct Stretch {
    absl::string_view text;
    int32_t id;
  };
  // Appends the stretches of `text` (valid UTF-8), none of them empty.
  void cut(absl::string_view text, std::vector<Stretch>& stretches) const;

 private:
  const AddedToken* token_at(absl::string_view text, size_t at, size_t& length) const;

  absl::flat_hash_map<std::string, AddedToken> tokens_;
  std::vector<size_t> lengths_[256];  // of the forms by their first byte, the longest first
};

}  // namespace galleon
