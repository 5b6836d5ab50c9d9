#include "worker/engine/data/tokenizers/word_memory.h"

#include "absl/hash/hash.h"

namespace galleon {

size_t WordMemory::part_of(absl::string_view word) {
  // Bits that the map's own hash does not use for its places.
  return (absl::Hash<absl::string_view>{}(word) >> 40) % kParts;
}

bool WordMemory::find(absl::string_view word, std::vector<int32_t>& ids) const {
  const Part& part = parts_[part_of(word)];
  const std::lock_guard<std::mutex> lock(part.mutex);
  const auto found = part.words.find(word);
  if (found == part.words.end()) return false;
  ids.insert(ids.end(), found->second.begin(), found->second.end());
  return true;
}

void WordMemory::insert(absl::string_view word, absl::Span<const int32_t> ids) {
  Part& part = parts_[part_of(word)];
  const std::lock_guard<std::mutex> lock(part.mutex);
  if (part.words.size() >= kWordsOfPart) part.words.clear();
  part.words.try_emplace(std::string(word), ids.begin(), ids.end());
}

}  // namespace galleon
