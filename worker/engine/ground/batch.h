// What a model reads in one pass, on the host.
#pragma once

#include <cstdint>
#include <vector>

namespace galleon {

// `sequences` rows of `length` positions; padding lies on the right.
struct Batch {
  int64_t sequences = 0;
  int64_t length = 0;
  std::vector<int32_t> ids;          // sequences·length
  std::vector<int32_t> lengths;      // real positions of each row; empty: every row is full
  std::vector<int32_t> token_types;  // sequences·length, encoders alone; empty: all 0
  std::vector<int32_t> targets;      // sequences·length, language modelling: negative is not counted
  std::vector<float> labels;         // one a row, classification: the number of the class, or the value of a regression
};

}  // namespace galleon
