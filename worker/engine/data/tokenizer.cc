#include "worker/engine/data/tokenizer.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/reach.h"
#include "worker/engine/data/sentencepiece_tokenizer.h"
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
  void encode_behind(absl::string_view, absl::string_view text, std::vector<int32_t>& ids) const override {
    encode(text, ids);
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 0 && id < 256) text.push_back(static_cast<char>(id));
    }
    return text;
  }
  std::vector<std::string> files() const override { return {}; }
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

int32_t Tokenizer::token_of(absl::string_view text) const {
  for (const auto& [mark, id] : marks()) {
    if (mark == text) return id;
  }
  return -1;
}

void Tokenizer::encode_behind(absl::string_view before, absl::string_view text, std::vector<int32_t>& ids) const {
  if (before.empty()) return encode(text, ids);
  std::vector<int32_t> first;
  encode(before, first);
  std::vector<int32_t> both;
  encode(absl::StrCat(before, text), both);
  // Where a token of the two together lies across the cut, each keeps its own.
  if (first.size() > both.size() || !std::equal(first.begin(), first.end(), both.begin())) return encode(text, ids);
  ids.insert(ids.end(), both.begin() + static_cast<std::ptrdiff_t>(first.size()), both.end());
}

namespace {

absl::Status choose_token(const Tokenizer& tokenizer, absl::string_view key, const std::string& choice,
                          int32_t& token) {
  if (choice == "auto") return absl::OkStatus();
  token = choice == "none" ? -1 : tokenizer.token_of(choice);
  if (token >= 0 || choice == "none") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(key, ": the tokenizer has no token \"", choice,
                                                 "\"; accepted: auto, none, or the text of one of its tokens"));
}

}  // namespace

absl::StatusOr<DocumentTokens> document_tokens(const Tokenizer& tokenizer, const std::string& begin,
                                               const std::string& end) {
  DocumentTokens tokens = tokenizer.document_tokens();
  if (absl::Status s = choose_token(tokenizer, "data.begin_token", begin, tokens.begin); !s.ok()) return s;
  if (absl::Status s = choose_token(tokenizer, "data.end_token", end, tokens.end); !s.ok()) return s;
  return tokens;
}

namespace {

// A token in base64, a space and its rank on a line: how Llama 3's own `tokenizer.model` is kept.
bool is_tiktoken_vocabulary(const std::string& path) {
  const absl::StatusOr<FileDescriptor> file = open_to_read(path);
  if (!file.ok()) return false;
  char begin[256];
  const ssize_t n = ::read(file->get(), begin, sizeof begin);
  const absl::string_view text(begin, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  const size_t end = text.find('\n');
  if (end == absl::string_view::npos) return false;
  const std::vector<absl::string_view> parts = absl::StrSplit(text.substr(0, end), ' ');
  std::string token;
  int64_t rank = 0;
  return parts.size() == 2 && absl::Base64Unescape(parts[0], &token) && !token.empty() &&
         absl::SimpleAtoi(parts[1], &rank);
}

// `folder`: whose settings are read as well; empty: the file was named by itself.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_model(const std::string& path, const std::string& folder) {
  if (is_tiktoken_vocabulary(path))
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", path,
                     " is a vocabulary of tiktoken, which does not hold how text is cut; name the tokenizer.json "
                     "that is published with the model"));
  return open_sentencepiece_tokenizer(path, folder);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> open_tokenizer(const std::string& source) {
  if (source == "bytes") return std::make_unique<ByteTokenizer>();
  std::error_code error;
  if (!std::filesystem::exists(source, error))
    return absl::NotFoundError(absl::StrCat("tokenizer: ", source, " does not exist"));
  if (std::filesystem::is_directory(source, error)) {
    if (std::filesystem::exists(std::filesystem::path(source) / "tokenizer.json", error))
      return open_hugging_face_tokenizer(source);
    for (const char* name : {"tokenizer.model", "spiece.model"}) {
      const std::string model = (std::filesystem::path(source) / name).string();
      if (std::filesystem::exists(model, error)) return open_model(model, source);
    }
  } else if (absl::EndsWith(source, ".model")) {
    return open_model(source, "");
  } else if (!absl::EndsWith(source, ".json")) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", source,
                     " is not a tokenizer; accepted: a SentencePiece .model, a tokenizer.json, a folder, or bytes"));
  }
  return open_hugging_face_tokenizer(source);
}

}  // namespace galleon
