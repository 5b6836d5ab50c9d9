#include "worker/engine/data/tokenizers/byte_pair.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

// Beyond this many symbols pairs wait in a heap; below it looking at all of them again is faster.
constexpr size_t kFewSymbols = 48;

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";

// Whether "▁" stands behind another character.
bool has_inner_space(absl::string_view symbol) {
  while (absl::ConsumePrefix(&symbol, kSpaceMark)) {
  }
  return absl::StrContains(symbol, kSpaceMark);
}

int32_t byte_code_point(uint8_t byte) {
  const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  if (printable(byte)) return byte;
  int32_t next = 256;
  for (int b = 0; b < byte; ++b) next += printable(b) ? 0 : 1;
  return next;
}

// Appends the bytes that the characters of a symbol stand for. False: there is another character.
bool in_alphabet(const std::string& symbol, std::string& bytes) {
  static const absl::flat_hash_map<int32_t, uint8_t> byte_of = [] {
    absl::flat_hash_map<int32_t, uint8_t> map;
    for (int b = 0; b < 256; ++b) map[byte_code_point(static_cast<uint8_t>(b))] = static_cast<uint8_t>(b);
    return map;
  }();
  for (size_t at = 0; at < symbol.size();) {
    const auto byte = byte_of.find(next_code_point(symbol, at));
    if (byte == byte_of.end()) return false;
    bytes.push_back(static_cast<char>(byte->second));
  }
  return true;
}

}  // namespace

std::string bytes_of_alphabet(const std::string& symbol) {
  std::string bytes;
  return in_alphabet(symbol, bytes) ? bytes : symbol;
}

std::string byte_character(uint8_t byte) {
  std::string text;
  append_code_point(byte_code_point(byte), text);
  return text;
}

absl::StatusOr<BytePair> BytePair::create(const Vocabulary& vocabulary,
                                          const std::vector<std::pair<std::string, std::string>>& merges,
                                          const BytePairOptions& options) {
  BytePair encoder;
  encoder.options_ = options;
  if (options.byte_level) {
    for (const auto& [symbol, id] : vocabulary) {
      std::string bytes;
      if (in_alphabet(symbol, bytes)) encoder.whole_[bytes] = id;
    }
  } else {
    encoder.whole_ = vocabulary;
  }

  for (int b = 0; b < 256; ++b) {
    const std::string symbol =
        options.byte_level ? byte_character(static_cast<uint8_t>(b)) : absl::StrFormat("<0x%02X>", b);
    const auto found = vocabulary.find(symbol);
    if (found == vocabulary.end() && (options.byte_level || options.byte_fallback)) {
      return absl::InvalidArgumentError(absl::StrCat("the vocabulary has no symbol ", symbol, " for the byte ", b));
    }
    encoder.byte_symbols_[b] = found == vocabulary.end() ? options.unknown : found->second;
  }
  encoder.add_marked_bytes(vocabulary);
  bool cuts_at_spaces =
      !options.byte_level && !options.ignore_merges && !encoder.has_marks_ && vocabulary.contains(kSpaceMark);
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto left = vocabulary.find(merges[i].first);
    const auto right = vocabulary.find(merges[i].second);
    absl::string_view second = merges[i].second;
    absl::ConsumePrefix(&second, options.continuation);
    const std::string whole = absl::StrCat(merges[i].first, second);
    const auto merged = vocabulary.find(whole);
    if (left == vocabulary.end() || right == vocabulary.end() || merged == vocabulary.end()) {
      return absl::InvalidArgumentError(absl::StrCat("merge ", i + 1, " (", merges[i].first, " ", merges[i].second,
                                                     ") is of symbols that the vocabulary does not have"));
    }
    // Of two equal pairs the later counts.
    encoder.merges_.insert_or_assign(pair_key(left->second, right->second),
                                     Merge{static_cast<int32_t>(i), merged->second});
    cuts_at_spaces = cuts_at_spaces && !has_inner_space(whole);
  }
  encoder.cuts_at_spaces_ = cuts_at_spaces;
  return encoder;
}

void BytePair::add_marked_bytes(const Vocabulary& vocabulary) {
  has_marks_ = !options_.continuation.empty() || !options_.ending.empty();
  if (!has_marks_ || !options_.byte_level) return;
  for (const bool first : {false, true}) {
    for (const bool last : {false, true}) {
      for (int b = 0; b < 256; ++b) {
        const std::string symbol = absl::StrCat(first ? "" : options_.continuation,
                                                byte_character(static_cast<uint8_t>(b)), last ? options_.ending : "");
        const auto found = vocabulary.find(symbol);
        marked_byte_symbols_[first][last][b] = found == vocabulary.end() ? options_.unknown : found->second;
      }
    }
  }
}

const BytePair::Merge* BytePair::find(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePair::symbols_of_bytes(absl::string_view piece, std::vector<int32_t>& out) const {
  if (!has_marks_) {
    for (const char c : piece) out.push_back(byte_symbols_[static_cast<uint8_t>(c)]);
    return;
  }
  for (size_t i = 0; i < piece.size(); ++i) {
    const int32_t symbol = marked_byte_symbols_[i == 0][i + 1 == piece.size()][static_cast<uint8_t>(piece[i])];
    if (symbol >= 0) out.push_back(symbol);
  }
}

void BytePair::symbols(absl::string_view piece, std::vector<int32_t>& out) const {
  if (options_.byte_level) return symbols_of_bytes(piece, out);
  bool after_unknown = false;
  std::string marked;
  for (size_t at = 0; at < piece.size();) {
    const size_t begin = at;
    next_code_point(piece, at);
    absl::string_view character = piece.substr(begin, at - begin);
    if (has_marks_) {
      marked =
          absl::StrCat(begin > 0 ? options_.continuation : "", character, at == piece.size() ? options_.ending : "");
      character = marked;
    }
    const auto found = whole_.find(character);
    if (found != whole_.end()) {
      out.push_back(found->second);
      after_unknown = false;
    } else if (options_.byte_fallback) {
      for (const char c : character) out.push_back(byte_symbols_[static_cast<uint8_t>(c)]);
      after_unknown = false;
    } else {
      if (options_.unknown >= 0 && !(after_unknown && options_.fuse_unknown)) out.push_back(options_.unknown);
      after_unknown = true;
    }
  }
}

void BytePair::merge_few(std::vector<int32_t>& symbols) const {
  while (symbols.size() > 1) {
    const Merge* best = nullptr;
    size_t place = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const Merge* merge = find(symbols[i], symbols[i + 1]);
      if (merge == nullptr || (best != nullptr && merge->order >= best->order)) continue;
      best = merge;
      place = i;
    }
    if (best == nullptr) return;
    symbols[place] = best->id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Symbols as a linked list, pairs in a heap by order, then place. A pair that has changed since it was put in is
// skipped when it comes out.
void BytePair::merge_many(std::vector<int32_t>& symbols) const {
  constexpr int32_t none = -1;
  struct Pair {
    int32_t order;
    int32_t place;
    int32_t left, right, merged;
    bool operator<(const Pair& other) const { return order != other.order ? order > other.order : place > other.place; }
  };
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<int32_t> next(symbols.size());
  std::vector<int32_t> previous(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : none;
    previous[i] = i - 1;
  }
  std::priority_queue<Pair> pairs;
  const auto offer = [&](int32_t place) {
    if (place == none || next[place] == none) return;
    const int32_t left = symbols[place];
    const int32_t right = symbols[next[place]];
    if (const Merge* merge = find(left, right); merge != nullptr)
      pairs.push({merge->order, place, left, right, merge->id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) offer(i);
  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    const int32_t right = next[pair.place];
    // A symbol that was merged into its left neighbour is none.
    if (right == none || symbols[pair.place] != pair.left || symbols[right] != pair.right) continue;
    symbols[pair.place] = pair.merged;
    symbols[right] = none;
    next[pair.place] = next[right];
    if (next[right] != none) previous[next[right]] = pair.place;
    offer(previous[pair.place]);
    offer(pair.place);
  }
  size_t kept = 0;
  for (int32_t i = 0; i != none && count > 0; i = next[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

void BytePair::encode(absl::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.empty()) return;
  if (options_.ignore_merges) {
    if (const auto found = whole_.find(piece); found != whole_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<int32_t> parts;
  parts.reserve(piece.size());
  symbols(piece, parts);
  if (parts.size() <= kFewSymbols) {
    merge_few(parts);
  } else {
    merge_many(parts);
  }
  ids.insert(ids.end(), parts.begin(), parts.end());
}

}  // namespace galleon
