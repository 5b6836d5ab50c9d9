// The ids of words that were encoded before: most words of a text are few.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace galleon {

// Thread-safe, and of bounded size: a part of it that is full is emptied.
class WordMemory {
 public:
  static constexpr size_t kLongestWord = 64;

  // Appends the word's ids to `ids`. False: it is not known.
  bool find(absl::string_view word, std::vector<int32_t>& ids) const;
  // Of a word of at most kLongestWord bytes.
  void insert(absl::string_view word, absl::Span<const int32_t> ids);

 private:
  static constexpr size_t kParts = 64;
  static constexpr size_t kWordsOfPart = 2048;

  struct alignas(64) Part {
    mutable std::mutex mutex;
    absl::flat_hash_map<std::string, std::vector<int32_t>> words;
  };
  static size_t part_of(absl::string_view word);
  std::array<Part, kParts> parts_;
};

}  // namespace galleon
