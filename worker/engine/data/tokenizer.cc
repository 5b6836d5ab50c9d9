#include "worker/engine/data/tokenizer.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/data/sentencepiece_model.h"
#include "worker/engine/data/tokenizers/hugging_face.h"

namespace galleon {

namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  int64_t vocabulary() const override { return 257; }
  SpecialTokens special() const override { return {.end = 256}; }
  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  }
  std::vector<std::pair<std::string, int32_t>> marks() const override { return {{"</s>", 256}}; }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 0 && id < 256) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  std::vector<std::string> files() const override { return {}; }
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> open(const std::string& path) {
    absl::StatusOr<std::unique_ptr<SentencePieceModel>> model = SentencePieceModel::open(path);
    if (!model.ok()) return model.status();
    if ((*model)->end_token() < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: ", path, " has no end-of-sentence piece, which joins documents"));
    }
    auto tokenizer = std::make_unique<SentencePieceTokenizer>();
    tokenizer->model_ = *std::move(model);
    tokenizer->path_ = path;
    return tokenizer;
  }
  int64_t vocabulary() const override { return model_->size(); }
  SpecialTokens special() const override { return {.begin = model_->begin_token(), .end = model_->end_token()}; }
  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    // A piece of text at a time: the library's cost grows faster than the length of one call. Cuts fall on line ends,
    // which are encoded like any white space, so that the ids do not depend on where a cut falls more than on the line
    // itself.
    while (!text.empty()) {
      size_t length = std::min<size_t>(text.size(), kPieceBytes);
      if (length < text.size()) {
        const size_t line = text.rfind('\n', length);
        if (line != absl::string_view::npos && line > 0) length = line + 1;
      }
      model_->encode(text.data(), length, ids);
      text.remove_prefix(length);
    }
  }
  std::vector<std::pair<std::string, int32_t>> marks() const override { return model_->control_pieces(); }
  std::string decode(const std::vector<int32_t>& ids) const override { return model_->decode(ids); }
  std::vector<std::string> files() const override { return {path_}; }

 private:
  static constexpr size_t kPieceBytes = 1 << 16;
  std::unique_ptr<SentencePieceModel> model_;
  std::string path_;
};

}  // namespace

void Tokenizer::encode_marked(absl::string_view text, std::vector<int32_t>& ids) const {
  const std::vector<std::pair<std::string, int32_t>> all = marks();
  while (!text.empty()) {
    const std::pair<std::string, int32_t>* first = nullptr;
    size_t place = text.size();
    for (const auto& mark : all) {
      const size_t found = text.find(mark.first);
      const bool longer = first != nullptr && found == place && mark.first.size() > first->first.size();
      if (found < place || longer) {
        place = found;
        first = &mark;
      }
    }
    if (place > 0) encode(text.substr(0, place), ids);
    if (first == nullptr) return;
    ids.push_back(first->second);
    text.remove_prefix(place + first->first.size());
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& source) {
  if (source == "bytes") return std::make_unique<ByteTokenizer>();
  std::error_code error;
  if (!std::filesystem::exists(source, error))
    return absl::NotFoundError(absl::StrCat("tokenizer: ", source, " does not exist"));
  if (absl::EndsWith(source, ".model")) return SentencePieceTokenizer::open(source);
  if (std::filesystem::is_directory(source, error)) {
    for (const char* name : {"tokenizer.model", "spiece.model"}) {
      const std::string model = (std::filesystem::path(source) / name).string();
      if (std::filesystem::exists(model, error)) return SentencePieceTokenizer::open(model);
    }
  } else if (!absl::EndsWith(source, ".json")) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", source,
                     " is not a tokenizer; accepted: a SentencePiece .model, a tokenizer.json, a folder, or bytes"));
  }
  return open_hugging_face_tokenizer(source);
}

}  // namespace galleon
