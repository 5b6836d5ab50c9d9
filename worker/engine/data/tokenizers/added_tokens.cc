#include "worker/engine/data/tokenizers/added_tokens.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

bool within_word(absl::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word_character(last_code_point(text.substr(0, begin)))) return true;
  return end < text.size() && is_word_character(next_code_point(text, end));
}

}  // namespace

void AddedTokenFinder::add(std::string form, const AddedToken& token) {
  std::vector<size_t>& lengths = lengths_[static_cast<uint8_t>(form[0])];
  const auto place = std::lower_bound(lengths.begin(), lengths.end(), form.size(), std::greater<>());
  if (place == lengths.end() || *place != form.size()) lengths.insert(place, form.size());
  tokens_.try_emplace(std::move(form), token);
}

const AddedToken* AddedTokenFinder::token_at(absl::string_view text, size_t at, size_t& length) const {
  for (const size_t candidate : lengths_[static_cast<uint8_t>(text[at])]) {
    if (candidate > text.size() - at) continue;
    const auto found = tokens_.find(text.substr(at, candidate));
    if (found == tokens_.end()) continue;
    length = candidate;
    return &found->second;
  }
  return nullptr;
}

void AddedTokenFinder::cut(absl::string_view text, std::vector<Stretch>& stretches) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const AddedToken* token = token_at(text, at, length);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + length;
    at = end;
    if (token->single_word && within_word(text, begin, end)) continue;
    // White space that the token before has taken is its own.
    if (token->strips_left) begin = std::max(done, begin - white_space_at_end(text.substr(0, begin)));
    if (token->strips_right) end += white_space_at_start(text.substr(end));
    if (done < begin) stretches.push_back({text.substr(done, begin - done), -1});
    stretches.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) stretches.push_back({text.substr(done), -1});
}

}  // namespace galleon
