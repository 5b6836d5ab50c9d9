#include "worker/engine/data/sentencepiece_tokenizer.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/sentencepiece_model.h"
#include "worker/engine/data/tokenizers/added_tokens.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/folder_settings.h"
#include "worker/engine/data/tokenizers/unicode.h"
#include "worker/engine/data/tokenizers/word_memory.h"

namespace galleon {
namespace {

// What a text that goes on behind an added token is encoded behind, so that no space is put before it.
constexpr absl::string_view kContext = "<unk>";
constexpr const char* kFiles = "a SentencePiece model";
constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";

bool is_visible(char c) {
  return c > ' ' && c <= '~';
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model, std::vector<std::string> files)
      : model_(std::move(model)), files_(std::move(files)) {
    size_ = model_->size();
    special_.begin = model_->begin_token();
    special_.end = model_->end_token();
    // As Llama reads such a model, whose file has no settings.
    around_ = DocumentTokens::by_settings(special_.begin, special_.end, true, false);
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

  // What the files beside the model say. INVALID_ARGUMENT: they contradict it.
  absl::Status take_settings(const FolderSettings& settings) {
    RETURN_IF_ERROR(settings.check_class(
        kFiles, {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "T5Tokenizer", "BertGenerationTokenizer"}));
    RETURN_IF_ERROR(settings.refuse("do_lower_case", true, kFiles));
    RETURN_IF_ERROR(settings.refuse("keep_accents", false, kFiles));
    for (const AddedToken& token : settings.added()) RETURN_IF_ERROR(add_token(token, settings.config_path()));
    for (const std::string& content : settings.further_special()) RETURN_IF_ERROR(add_further(content, settings));
    ASSIGN_OR_RETURN(const std::optional<bool> prefix, settings.flag("add_prefix_space"));
    if (!prefix.value_or(true)) {
      return tokenizer_error(settings.config_path(),
                             "add_prefix_space: false beside a .model is not available in this version; tokenizer.json "
                             "is needed");
    }
    ASSIGN_OR_RETURN(const std::optional<bool> legacy, settings.flag("legacy"));
    prefixes_all_ = legacy.value_or(true);
    RETURN_IF_ERROR(take_role(settings, "bos_token", special_.begin));
    RETURN_IF_ERROR(take_role(settings, "eos_token", special_.end));
    ASSIGN_OR_RETURN(const std::optional<bool> begins, settings.flag("add_bos_token"));
    ASSIGN_OR_RETURN(const std::optional<bool> ends, settings.flag("add_eos_token"));
    around_ = DocumentTokens::by_settings(special_.begin, special_.end, begins.value_or(true), ends.value_or(false));
    return absl::OkStatus();
  }

  int64_t vocabulary() const override { return size_; }
  SpecialTokens special() const override { return special_; }
  DocumentTokens tokens_by_settings() const override { return around_; }

  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    if (added_.empty()) return encode_text(text, ids);
    const std::string sound = valid_utf8(text);
    std::vector<AddedTokenFinder::Stretch> stretches;
    added_.cut(sound, stretches);
    for (const AddedTokenFinder::Stretch& stretch : stretches) {
      if (stretch.id >= 0) {
        ids.push_back(stretch.id);
      } else if (prefixes_all_ || stretch.text.data() == sound.data()) {
        encode_text(stretch.text, ids);
      } else {
        encode_without_prefix(stretch.text, ids);
      }
    }
  }

  std::vector<std::pair<std::string, int32_t>> marks() const override { return marks_; }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    std::vector<int32_t> pieces;
    const auto flush = [&] {
      if (!pieces.empty()) text += model_->decode(pieces);
      pieces.clear();
    };
    for (const int32_t id : ids) {
      const auto added = added_by_id_.find(id);
      if (added == added_by_id_.end() || id < model_->size()) {
        pieces.push_back(id);
        continue;
      }
      flush();
      if (!added->second.special) text += added->second.content;
    }
    flush();
    return text;
  }
  std::vector<std::string> files() const override { return files_; }

 private:
  absl::Status add_token(const AddedToken& token, const std::string& where) {
    if (token.id < model_->size()) {
      if (model_->piece(token.id).text != token.content) {
        return tokenizer_error(where, absl::StrCat("the added token \"", token.content, "\" has the id ", token.id,
                                                   ", which in the model is \"", model_->piece(token.id).text, "\""));
      }
    } else {
      size_ = std::max<int64_t>(size_, token.id + 1);
      marks_.emplace_back(token.content, token.id);
    }
    added_.add(token.content, token);
    added_by_id_[token.id] = token;
    return absl::OkStatus();
  }

  absl::Status add_further(const std::string& content, const FolderSettings& settings) {
    AddedToken token;
    token.content = content;
    token.special = true;
    token.id = token_of(content);
    for (int32_t id = 0; token.id < 0 && id < model_->size(); ++id) {
      if (model_->piece(id).text == content) token.id = id;
    }
    if (token.id < 0) return settings.no_id(content);
    return added_by_id_.contains(token.id) ? absl::OkStatus() : add_token(token, settings.config_path());
  }

  absl::Status take_role(const FolderSettings& settings, const char* role, int32_t& id) const {
    const std::string name = settings.token_of_role(role);
    if (name.empty()) return absl::OkStatus();
    id = token_of(name);
    if (id >= 0) return absl::OkStatus();
    return tokenizer_error(settings.config_path(),
                           absl::StrCat(role, " is \"", name, "\", which the tokenizer's files give no id"));
  }

  void encode_without_prefix(absl::string_view text, std::vector<int32_t>& ids) const {
    std::vector<int32_t> context;
    encode_whole(kContext, context);
    std::vector<int32_t> both;
    encode_whole(absl::StrCat(kContext, text), both);
    ids.insert(ids.end(), both.begin() + static_cast<std::ptrdiff_t>(std::min(context.size(), both.size())),
               both.end());
  }

  void encode_text(absl::string_view text, std::vector<int32_t>& ids) const {
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

  void encode_whole(absl::string_view text, std::vector<int32_t>& ids) const {
    if (!text.empty()) model_->encode(text.data(), text.size(), ids);
  }

  std::unique_ptr<SentencePieceModel> model_;
  std::vector<std::string> files_;
  std::vector<std::pair<std::string, int32_t>> marks_;
  AddedTokenFinder added_;
  absl::flat_hash_map<int32_t, AddedToken> added_by_id_;
  SpecialTokens special_;
  DocumentTokens around_;
  int64_t size_ = 0;
  bool prefixes_all_ = true;  // a space is put before each stretch between added tokens
  bool by_words_ = false;
  mutable WordMemory words_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> open_sentencepiece_tokenizer(const std::string& path,
                                                                        const std::string& folder) {
  ASSIGN_OR_RETURN(std::unique_ptr<SentencePieceModel> model, SentencePieceModel::open(path));
  auto tokenizer = std::make_unique<SentencePieceTokenizer>(
      std::move(model), folder.empty() ? std::vector<std::string>{path} : tokenizer_files_of(folder));
  if (!folder.empty()) {
    ASSIGN_OR_RETURN(const FolderSettings settings, FolderSettings::read(folder));
    RETURN_IF_ERROR(tokenizer->take_settings(settings));
  }
  if (tokenizer->special().end < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", path, " has no end-of-sentence piece, which joins documents"));
  }
  return tokenizer;
}

}  // namespace galleon
