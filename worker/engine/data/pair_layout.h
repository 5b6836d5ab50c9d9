// Which special tokens stand around one text, or around two, for an encoder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizer.h"

namespace galleon {

struct PairLayout {
  struct Item {
    int32_t token = -1;   // a special token, or
    int text = -1;        // the first (0) or second (1) text
    bool second = false;  // of token type 1
    bool operator==(const Item&) const = default;
  };
  std::vector<Item> single;
  std::vector<Item> pair;
  bool cuts_begin = false;  // of a text that is too long; else its end
  bool operator==(const PairLayout&) const = default;

  // [CLS] a [SEP] b [SEP], from the first [SEP] on of token type 1.
  static PairLayout bert(int32_t classify, int32_t separator);
  // <s> a </s></s> b </s>, all of one type.
  static PairLayout roberta(int32_t begin, int32_t end);
};

// What the post-processor of tokenizer.json says; where there is none, that of the tokenizer's class in
// tokenizer_config.json, else by its first token: BERT's with [CLS], RoBERTa's with any other. Then truncation_side and
// model_input_names of tokenizer_config.json: without token_type_ids there all tokens are of type 0. INVALID_ARGUMENT:
// a post-processor or a side that is not known, or no tokens that begin and end a sentence.
absl::StatusOr<PairLayout> pair_layout(const Tokenizer& tokenizer);

}  // namespace galleon
