#include "worker/engine/data/tokenizers/unigram.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

constexpr double kUnknownPenalty = 10;  // as SentencePiece has it

uint64_t child_key(int32_t node, uint8_t byte) {
  return static_cast<uint64_t>(node) << 8 | byte;
}

}  // namespace

absl::StatusOr<Unigram> Unigram::create(std::vector<std::pair<std::string, double>> pieces, int32_t unknown,
                                        bool byte_fallback) {
  if (unknown >= static_cast<int64_t>(pieces.size()))
    return absl::InvalidArgumentError(absl::StrCat("unk_id ", unknown, " is beyond the vocabulary"));
  Unigram model;
  model.unknown_ = unknown;
  model.ends_.push_back(-1);
  double lowest = pieces.empty() ? 0 : pieces.front().second;
  for (size_t id = 0; id < pieces.size(); ++id) {
    const std::string& text = pieces[id].first;
    lowest = std::min(lowest, pieces[id].second);
    model.ids_[text] = static_cast<int32_t>(id);
    int32_t node = 0;
    for (const char c : text) {
      const auto byte = static_cast<uint8_t>(c);
      int32_t& next = node == 0 ? model.first_children_[byte]
                                : model.children_.try_emplace(child_key(node, byte), -1).first->second;
      if (next < 0) {
        next = static_cast<int32_t>(model.ends_.size());
        model.ends_.push_back(-1);
      }
      node = next;
    }
    if (node != 0) model.ends_[node] = static_cast<int32_t>(id);
  }
  model.unknown_score_ = lowest - kUnknownPenalty;
  for (int b = 0; byte_fallback && b < 256; ++b) {
    const auto found = model.ids_.find(absl::StrFormat("<0x%02X>", b));
    model.bytes_.push_back(found == model.ids_.end() ? -1 : found->second);
  }
  if (unknown < 0 && std::count(model.bytes_.begin(), model.bytes_.end(), -1) + (model.bytes_.empty() ? 1 : 0) > 0)
    return absl::InvalidArgumentError("a unigram model needs unk_id, or byte_fallback with a piece for each byte");
  model.pieces_ = std::move(pieces);
  return model;
}

int32_t Unigram::child(int32_t node, uint8_t byte) const {
  if (node == 0) return first_children_[byte];
  const auto found = children_.find(child_key(node, byte));
  return found == children_.end() ? -1 : found->second;
}

// Of each place in the text, the piece that ends there on the most probable way to it (Viterbi).
std::vector<Unigram::Node> Unigram::best_ends(absl::string_view text) const {
  std::vector<Node> best(text.size() + 1);
  const auto offer = [&](size_t begin, size_t end, double score, int32_t id) {
    score += best[begin].score;
    Node& node = best[end];
    if (node.begin >= 0 && score <= node.score) return;
    node = {score, static_cast<int64_t>(begin), id};
  };
  for (size_t begin = 0; begin < text.size();) {
    size_t after = begin;
    next_code_point(text, after);
    bool covered = false;
    int32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      node = child(node, static_cast<uint8_t>(text[at]));
      if (node < 0) break;
      if (ends_[node] < 0) continue;
      offer(begin, at + 1, pieces_[ends_[node]].second, ends_[node]);
      covered = covered || at + 1 == after;
    }
    if (!covered) offer(begin, after, unknown_score_, unknown_);
    begin = after;
  }
  return best;
}

void Unigram::append(absl::string_view part, std::vector<int32_t>& ids) const {
  if (const auto found = ids_.find(part); found != ids_.end()) {
    ids.push_back(found->second);
    return;
  }
  const bool in_bytes = !bytes_.empty() && std::all_of(part.begin(), part.end(),
                                                       [&](char c) { return bytes_[static_cast<uint8_t>(c)] >= 0; });
  if (in_bytes) {
    for (const char c : part) ids.push_back(bytes_[static_cast<uint8_t>(c)]);
  } else if (unknown_ >= 0) {
    ids.push_back(unknown_);
  }
}

void Unigram::encode(absl::string_view text, std::vector<int32_t>& ids) const {
  const std::vector<Node> best = best_ends(text);
  std::vector<absl::string_view> parts;  // from the end
  bool after_unknown = false;
  for (size_t end = text.size(); end > 0;) {
    const Node& node = best[end];
    const auto begin = static_cast<size_t>(node.begin);
    // Neighbours that no piece covers are one.
    const bool is_unknown = unknown_ >= 0 && node.id == unknown_;
    if (is_unknown && after_unknown) {
      parts.back() = text.substr(begin, parts.back().data() + parts.back().size() - (text.data() + begin));
    } else {
      parts.push_back(text.substr(begin, end - begin));
    }
    after_unknown = is_unknown;
    end = begin;
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) append(*part, ids);
}

void Unigram::decode(int32_t id, std::string& text) const {
  if (id >= 0 && id < static_cast<int64_t>(pieces_.size())) text += pieces_[id].first;
}

}  // namespace galleon
