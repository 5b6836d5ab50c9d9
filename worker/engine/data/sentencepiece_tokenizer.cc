#include "worker/engine/data/sentencepiece_tokenizer.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/sentencepiece_model.h"
#include "worker/engine/data/tokenizers/word_memory.h"

namespace galleon {
namespace {

// The library's cost grows faster than the length of one call.
constexpr size_t kPieceBytes = 1 << 16;
constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";

bool is_visible(char c) {
  return c > ' ' && c <= '~';
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model, std::string path)
      : model_(std::move(model)), path_(std::move(path)) {
    bool cut_at_spaces = true;
    bool merges = true;
    for (int32_t id = 0; id < model_->size(); ++id) {
      SentencePieceModel::Piece piece = model_->piece(id);
      if (piece.control) {
        marks_.emplace_back(std::move(piece.text), id);
        continue;
      }
      merges = merges && piece.score == std::floor(piece.score);
      absl::string_view rest = piece.text;
      while (absl::ConsumePrefix(&rest, kSpaceMark)) {
      }
      cut_at_spaces = cut_at_spaces && !absl::StrContains(rest, kSpaceMark);
    }
    // A unigram model, whose scores are logarithms, adds them up over a whole call: rounding decides between equals.
    by_words_ = merges && cut_at_spaces && words_alone_are_words_in_a_text();
  }

  int64_t vocabulary() const override { return model_->size(); }
  SpecialTokens special() const override { return {.begin = model_->begin_token(), .end = model_->end_token()}; }

  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    if (!by_words_) return encode_whole(text, ids);
    size_t begin = 0;
    for (size_t space = text.find(' '); space != absl::string_view::npos; space = text.find(' ', space + 1)) {
      if (space == begin || space + 1 == text.size() || !is_visible(text[space - 1]) || !is_visible(text[space + 1]))
        continue;
      encode_word(text.substr(begin, space - begin), ids);
      begin = space + 1;
    }
    encode_word(text.substr(begin), ids);
  }

  std::vector<std::pair<std::string, int32_t>> marks() const override { return marks_; }
  std::string decode(const std::vector<int32_t>& ids) const override { return model_->decode(ids); }
  std::vector<std::string> files() const override { return {path_}; }

 private:
  // Where no piece goes on behind a space, a text may be cut before a single space between visible ASCII characters: to
  // the library a word alone begins with a space as well. Whether it does, and whether its normaliser leaves words
  // alone, is tried.
  bool words_alone_are_words_in_a_text() const {
    for (absl::string_view text : {"The quick, brown fox. (It's) 12 x 3.5% of A_b/c; \"Quoted\" -- end", "a b"}) {
      std::vector<int32_t> whole;
      encode_whole(text, whole);
      std::vector<int32_t> joined;
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(' ', begin), text.size());
        encode_whole(text.substr(begin, end - begin), joined);
        begin = end + 1;
      }
      if (whole != joined) return false;
    }
    return true;
  }

  void encode_word(absl::string_view word, std::vector<int32_t>& ids) const {
    if (word.size() > WordMemory::kLongestWord) return encode_whole(word, ids);
    if (words_.find(word, ids)) return;
    const size_t before = ids.size();
    encode_whole(word, ids);
    words_.insert(word, {ids.data() + before, ids.size() - before});
  }

  // Pieces of a text that is too long for one call are cut behind line ends where there are any.
  void encode_whole(absl::string_view text, std::vector<int32_t>& ids) const {
    while (!text.empty()) {
      size_t length = std::min(text.size(), kPieceBytes);
      if (length < text.size()) {
        const size_t line = text.rfind('\n', length - 1);
        if (line != absl::string_view::npos) {
          length = line + 1;
        } else {
          while (length > kPieceBytes - 4 && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) --length;
        }
      }
      model_->encode(text.data(), length, ids);
      text.remove_prefix(length);
    }
  }

  std::unique_ptr<SentencePieceModel> model_;
  std::string path_;
  std::vector<std::pair<std::string, int32_t>> marks_;
  bool by_words_ = false;
  mutable WordMemory words_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> open_sentencepiece_tokenizer(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<SentencePieceModel> model, SentencePieceModel::open(path));
  if (model->end_token() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", path, " has no end-of-sentence piece, which joins documents"));
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(model), path);
}

}  // namespace galleon
