#include "worker/engine/data/tokenizers/component_tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/unicode.h"
#include "worker/engine/data/tokenizers/word_memory.h"

namespace galleon {
namespace {

class ComponentTokenizer final : public Tokenizer {
 public:
  ComponentTokenizer(TokenizerComponents components, const SpecialTokens& special, DocumentTokens around,
                     std::vector<std::string> files)
      : parts_(std::move(components)), special_(special), around_(around), files_(std::move(files)) {
    for (const auto& [piece, id] : parts_.vocabulary) name(id, piece);
    for (const AddedToken& token : parts_.added) {
      name(token.id, token.content);
      added_by_id_[token.id] = &token;
    }
  }

  // False: nothing is left of a token that is looked for in its normal form.
  bool find_added_tokens(std::string& lost) {
    for (const AddedToken& token : parts_.added) {
      std::string form = token.normalized ? normal(token.content) : token.content;
      lost = token.content;
      if (form.empty()) return false;
      (token.normalized ? in_normal_text_ : in_text_).add(std::move(form), token);
    }
    return true;
  }

  int64_t vocabulary() const override { return size_; }
  SpecialTokens special() const override { return special_; }
  DocumentTokens tokens_by_settings() const override { return around_; }
  int32_t token_of(absl::string_view text) const override {
    for (const AddedToken& token : parts_.added) {
      if (token.content == text) return token.id;
    }
    const auto found = parts_.vocabulary.find(text);
    return found == parts_.vocabulary.end() ? -1 : found->second;
  }

  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    const std::string sound = valid_utf8(text);
    std::vector<AddedTokenFinder::Stretch> stretches;
    in_text_.cut(sound, stretches);
    for (const AddedTokenFinder::Stretch& stretch : stretches) {
      if (stretch.id >= 0) {
        ids.push_back(stretch.id);
      } else {
        encode_plain(stretch.text, stretch.text.data() == sound.data(), ids);
      }
    }
  }

  std::vector<std::pair<std::string, int32_t>> marks() const override {
    std::vector<std::pair<std::string, int32_t>> all;
    for (const AddedToken& token : parts_.added) all.emplace_back(token.content, token.id);
    return all;
  }
  // Added tokens are found in every text.
  void encode_marked(absl::string_view text, std::vector<int32_t>& ids) const override { encode(text, ids); }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::vector<WrittenToken> tokens;
    for (const int32_t id : ids) {
      const auto written = names_.find(id);
      if (written == names_.end()) continue;
      const auto added = added_by_id_.find(id);
      if (added != added_by_id_.end() && added->second->special) continue;
      tokens.push_back({written->second, added != added_by_id_.end()});
    }
    return decoded(std::move(tokens), parts_.decoders);
  }

  std::vector<std::string> files() const override { return files_; }

 private:
  void name(int32_t id, const std::string& text) {
    size_ = std::max<int64_t>(size_, id + 1);
    names_[id] = text;
  }

  std::string normal(absl::string_view text) const {
    std::string changed(text);
    for (const std::unique_ptr<Normalizer>& normalizer : parts_.normalizers) changed = normalizer->apply(changed);
    return changed;
  }

  // `first`: the text begins here.
  void encode_plain(absl::string_view text, bool first, std::vector<int32_t>& ids) const {
    std::string changed;
    if (!parts_.normalizers.empty()) {
      changed = normal(text);
      text = changed;
    }
    if (in_normal_text_.empty()) return cut(text, first, 0, ids);
    std::vector<AddedTokenFinder::Stretch> stretches;
    in_normal_text_.cut(text, stretches);
    for (const AddedTokenFinder::Stretch& stretch : stretches) {
      if (stretch.id >= 0) {
        ids.push_back(stretch.id);
      } else {
        cut(stretch.text, first && stretch.text.data() == text.data(), 0, ids);
      }
    }
  }

  void cut(absl::string_view piece, bool first, size_t step, std::vector<int32_t>& ids) const {
    if (piece.empty()) return;
    if (step < parts_.pre_tokenizers.size()) {
      parts_.pre_tokenizers[step]->split(
          piece, first, [&](absl::string_view part, bool part_first) { cut(part, part_first, step + 1, ids); });
    } else if (const auto* pairs = std::get_if<BytePair>(&parts_.model)) {
      encode_pairs(*pairs, piece, ids);
    } else if (const auto* pieces = std::get_if<WordPiece>(&parts_.model)) {
      pieces->encode(piece, ids);
    } else if (const auto* unigram = std::get_if<Unigram>(&parts_.model)) {
      encode_word(*unigram, piece, ids);
    } else if (const auto* words = std::get_if<WordLevel>(&parts_.model)) {
      words->encode(piece, ids);
    }
  }

  void encode_pairs(const BytePair& pairs, absl::string_view piece, std::vector<int32_t>& ids) const {
    if (parts_.byte_level) return pairs.encode(piece, ids);
    pairs.for_each_word(piece, [&](absl::string_view word) { encode_word(pairs, word, ids); });
  }

  // Through the memory of words.
  template <typename Model>
  void encode_word(const Model& model, absl::string_view word, std::vector<int32_t>& ids) const {
    if (word.size() > WordMemory::kLongestWord) return model.encode(word, ids);
    if (words_.find(word, ids)) return;
    const size_t before = ids.size();
    model.encode(word, ids);
    words_.insert(word, {ids.data() + before, ids.size() - before});
  }

  TokenizerComponents parts_;
  SpecialTokens special_;
  DocumentTokens around_;
  std::vector<std::string> files_;
  int64_t size_ = 0;
  absl::flat_hash_map<int32_t, std::string> names_;  // of tokens, by id
  absl::flat_hash_map<int32_t, const AddedToken*> added_by_id_;
  AddedTokenFinder in_text_;
  AddedTokenFinder in_normal_text_;
  mutable WordMemory words_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> make_component_tokenizer(TokenizerComponents components,
                                                                    const SpecialTokens& special, DocumentTokens around,
                                                                    std::vector<std::string> files,
                                                                    const std::string& where) {
  auto tokenizer = std::make_unique<ComponentTokenizer>(std::move(components), special, around, std::move(files));
  std::string lost;
  if (!tokenizer->find_added_tokens(lost))
    return tokenizer_error(where, absl::StrCat("nothing is left of the added token \"", lost, "\" when normalized"));
  return tokenizer;
}

}  // namespace galleon
