#include "worker/engine/data/tokenizers/word_piece.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}

void WordPiece::encode(absl::string_view word, std::vector<int32_t>& ids) const {
  std::vector<size_t> starts;  // of characters, and the end
  for (size_t at = 0; at < word.size(); next_code_point(word, at)) starts.push_back(at);
  const size_t characters = starts.size();
  starts.push_back(word.size());
  const size_t first_id = ids.size();
  std::string candidate;
  for (size_t begin = 0; begin < characters;) {
    int32_t found = -1;
    size_t end = static_cast<int64_t>(characters) > options_.longest_word ? begin : characters;
    for (; end > begin; --end) {
      const absl::string_view part = word.substr(starts[begin], starts[end] - starts[begin]);
      candidate = begin > 0 ? absl::StrCat(options_.continuation, part) : std::string(part);
      if (const auto known = vocabulary_.find(candidate); known != vocabulary_.end()) {
        found = known->second;
        break;
      }
    }
    if (found < 0) {
      ids.resize(first_id);
      ids.push_back(options_.unknown);
      return;
    }
    ids.push_back(found);
    begin = end;
  }
}

void WordLevel::encode(absl::string_view word, std::vector<int32_t>& ids) const {
  const auto found = vocabulary_.find(word);
  ids.push_back(found != vocabulary_.end() ? found->second : unknown_);
}

}  // namespace galleon
