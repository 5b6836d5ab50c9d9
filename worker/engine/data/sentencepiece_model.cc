#include "worker/engine/data/sentencepiece_model.h"

#include <dlfcn.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/process.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/sentencepiece/plugin.h"
#include "worker/engine/data/sentencepiece_check.h"

namespace galleon {

namespace {

// Bound to its own symbols first. The sanitizers' run-time refuses that flag, so their builds have no SentencePiece.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanLoad = false;
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr bool kCanLoad = true;
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

absl::StatusOr<const GalleonSentencePieceFunctions*> load_plugin() {
  if (!kCanLoad) return absl::UnavailableError("tokenizer: SentencePiece cannot be loaded in a sanitizer build");
  std::string reason;
  for (const char* folder : {"", "/../lib/galleon"}) {
    const std::string path = absl::StrCat(executable_folder(), folder, "/libgalleon_sentencepiece.so");
    void* library = ::dlopen(path.c_str(), kFlags);
    if (library == nullptr) {
      if (reason.empty()) reason = ::dlerror();
      continue;
    }
    auto* functions = reinterpret_cast<decltype(&galleon_sentencepiece_functions)>(
        ::dlsym(library, "galleon_sentencepiece_functions"));
    if (functions != nullptr) return functions();
  }
  return absl::UnavailableError(
      absl::StrCat("tokenizer: SentencePiece cannot be loaded (", reason, "); is libsentencepiece0 installed?"));
}

// What will be done with it later: each piece, and a text with every byte and characters of several alphabets.
void use_once(const GalleonSentencePieceFunctions& functions, const std::string& bytes) {
  const GalleonSentencePiece* model = functions.open(bytes.data(), bytes.size());
  if (model == nullptr) return;
  std::string text = "A word, \xC3\xA9t\xC3\xA9 \xCE\xB1\xCE\xB2 \xE2\x84\xAB \xEF\xBC\xA1 \xE4\xB8\xAD <s> ";
  for (int byte = 0; byte < 256; ++byte) text.push_back(static_cast<char>(byte));
  std::vector<int> ids;
  functions.encode(
      model, text.data(), text.size(),
      [](void* context, const int* found, size_t count) {
        static_cast<std::vector<int>*>(context)->assign(found, found + count);
      },
      &ids);
  functions.decode(
      model, ids.data(), ids.size(), [](void*, const char*, size_t) {}, nullptr);
  for (int id = 0; id < functions.size(model); ++id) {
    functions.piece(
        model, id, [](void*, const char*, size_t, bool) {}, nullptr);
    functions.score(model, id);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceModel>> SentencePieceModel::open(const std::string& path) {
  ASSIGN_OR_RETURN(const GalleonSentencePieceFunctions* functions, load_plugin());
  ASSIGN_OR_RETURN(const std::string bytes, read_to_parse(path));
  RETURN_IF_ERROR(check_sentencepiece(bytes, path));
  RETURN_IF_ERROR(try_apart([&] { use_once(*functions, bytes); }, path));
  GalleonSentencePiece* model = functions->open(bytes.data(), bytes.size());
  if (model == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", path, " is not a SentencePiece model"));
  return std::unique_ptr<SentencePieceModel>(new SentencePieceModel(*functions, model));
}

SentencePieceModel::~SentencePieceModel() {
  functions_.close(model_);
}
int SentencePieceModel::size() const {
  return functions_.size(model_);
}
int SentencePieceModel::begin_token() const {
  return functions_.begin_token(model_);
}
int SentencePieceModel::end_token() const {
  return functions_.end_token(model_);
}

void SentencePieceModel::encode(const char* text, size_t length, std::vector<int32_t>& ids) const {
  functions_.encode(
      model_, text, length,
      [](void* context, const int* found, size_t count) {
        auto& all = *static_cast<std::vector<int32_t>*>(context);
        all.insert(all.end(), found, found + count);
      },
      &ids);
}

SentencePieceModel::Piece SentencePieceModel::piece(int32_t id) const {
  Piece piece;
  functions_.piece(
      model_, id,
      [](void* context, const char* text, size_t length, bool control) {
        *static_cast<Piece*>(context) = {std::string(text, length), control};
      },
      &piece);
  piece.score = functions_.score(model_, id);
  return piece;
}

std::string SentencePieceModel::decode(const std::vector<int32_t>& ids) const {
  std::vector<int> known;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(known), [&](int32_t id) { return id >= 0 && id < size(); });
  std::string text;
  functions_.decode(
      model_, known.data(), known.size(),
      [](void* context, const char* found, size_t length) {
        static_cast<std::string*>(context)->assign(found, length);
      },
      &text);
  return text;
}

}  // namespace galleon
