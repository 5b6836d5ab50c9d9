#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/data/tokenizers/normalizer.h"

namespace galleon {
namespace {

constexpr size_t kLongestCluster = 5;  // bytes that are looked up at once

// A trie of texts as one array (Aoe 1989), in the units of the library darts-clone: bits 0–7 a label, 8 whether a text
// ends, 10–30 where the next unit is, shifted by 8 where bit 9 is set; bit 31 marks a value.
class Trie {
 public:
  explicit Trie(std::vector<uint32_t> units) : units_(std::move(units)) {}

  // The value of the shortest text that `key` begins with; -1: there is none.
  int64_t shortest(absl::string_view key) const {
    size_t at = next(0, 0);
    for (const char c : key) {
      const auto label = static_cast<uint8_t>(c);
      if (label == 0) return -1;
      at ^= label;
      if (at >= units_.size() || (units_[at] & (uint32_t{1} << 31 | 0xFFU)) != label) return -1;
      const bool ends = (units_[at] >> 8 & 1U) != 0;
      at = next(at, at);
      if (ends) return at < units_.size() ? static_cast<int64_t>(units_[at] & ~(uint32_t{1} << 31)) : -1;
    }
    return -1;
  }

 private:
  size_t next(size_t unit, size_t from) const {
    return from ^ (static_cast<size_t>(units_[unit] >> 10) << ((units_[unit] & 1U << 9) >> 6));
  }
  std::vector<uint32_t> units_;
};

class TableNormalizer final : public Normalizer {
 public:
  TableNormalizer(Trie trie, std::string texts) : trie_(std::move(trie)), texts_(std::move(texts)) {}

  std::string apply(absl::string_view text) const override {
    std::string out;
    out.reserve(text.size());
    size_t begin = 0;
    while (begin < text.size()) {
      const size_t end = end_of_cluster(text, begin);
      add_cluster(text.substr(begin, end - begin), out);
      begin = end;
    }
    return out;
  }

 private:
  void add_cluster(absl::string_view cluster, std::string& out) const {
    if (cluster.size() <= kLongestCluster && add_replacement(cluster, out)) return;
    for (size_t at = 0; at < cluster.size();) {
      const size_t begin = at;
      next_code_point(cluster, at);
      const absl::string_view character = cluster.substr(begin, at - begin);
      if (!add_replacement(character, out)) absl::StrAppend(&out, character);
    }
  }
  bool add_replacement(absl::string_view key, std::string& out) const {
    const int64_t found = trie_.shortest(key);
    if (found < 0 || found >= static_cast<int64_t>(texts_.size())) return false;
    out += texts_.c_str() + found;  // up to its NUL
    return true;
  }

  Trie trie_;
  std::string texts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Normalizer>> table_normalizer(std::string table, double& growth) {
  uint32_t bytes = 0;
  if (table.size() >= sizeof bytes) std::memcpy(&bytes, table.data(), sizeof bytes);
  if (bytes == 0 || bytes % 4 != 0 || bytes > table.size() - sizeof bytes)
    return absl::InvalidArgumentError("its table of replacements is not sound");
  std::vector<uint32_t> units(bytes / 4);
  std::memcpy(units.data(), table.data() + sizeof bytes, bytes);
  std::string texts = table.substr(sizeof bytes + bytes);
  if (!valid_utf8_whole(texts)) return absl::InvalidArgumentError("its replacements are not UTF-8");
  size_t longest = 1;
  for (size_t begin = 0; begin < texts.size();) {
    const size_t end = std::min(texts.find('\0', begin), texts.size());
    longest = std::max(longest, end - begin);
    begin = end + 1;
  }
  growth = static_cast<double>(longest);
  return std::make_unique<TableNormalizer>(Trie(std::move(units)), std::move(texts));
}

}  // namespace galleon
