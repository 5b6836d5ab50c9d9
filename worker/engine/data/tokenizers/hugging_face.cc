#include "worker/engine/data/tokenizers/hugging_face.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/components.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Files of a tokenizer that a checkpoint carries along, where they are.
constexpr const char* kFiles[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "vocab.txt",      "added_tokens.json",     "chat_template.jinja"};

class HuggingFaceTokenizer final : public Tokenizer {
 public:
  HuggingFaceTokenizer(TokenizerComponents components, SpecialTokens special, std::vector<std::string> files)
      : parts_(std::move(components)), special_(special), files_(std::move(files)) {
    for (const auto& [piece, id] : parts_.vocabulary) size_ = std::max<int64_t>(size_, id + 1);
    for (const AddedToken& token : parts_.added) {
      size_ = std::max<int64_t>(size_, token.id + 1);
      added_[static_cast<uint8_t>(token.content[0])].push_back(&token);
      added_by_id_[token.id] = &token;
    }
    for (std::vector<const AddedToken*>& tokens : added_) {
      std::sort(tokens.begin(), tokens.end(),
                [](const AddedToken* a, const AddedToken* b) { return a->content.size() > b->content.size(); });
    }
  }

  int64_t vocabulary() const override { return size_; }
  SpecialTokens special() const override { return special_; }

  void encode(absl::string_view text, std::vector<int32_t>& ids) const override {
    const std::string sound = valid_utf8(text);
    const absl::string_view whole = sound;
    size_t done = 0;
    for (size_t at = 0; at < whole.size();) {
      const AddedToken* token = added_at(whole, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      absl::string_view before = whole.substr(done, at - done);
      if (token->strips_left) {
        while (!before.empty() && before.back() == ' ') before.remove_suffix(1);
      }
      encode_plain(before, ids);
      ids.push_back(token->id);
      at += token->content.size();
      while (token->strips_right && at < whole.size() && whole[at] == ' ') ++at;
      done = at;
    }
    encode_plain(whole.substr(done), ids);
  }

  std::vector<std::pair<std::string, int32_t>> marks() const override {
    std::vector<std::pair<std::string, int32_t>> all;
    for (const AddedToken& token : parts_.added) all.emplace_back(token.content, token.id);
    return all;
  }
  // Added tokens are found in every text.
  void encode_marked(absl::string_view text, std::vector<int32_t>& ids) const override { encode(text, ids); }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (const auto added = added_by_id_.find(id); added != added_by_id_.end()) {
        if (!added->second->special) text += added->second->content;
      } else if (const auto* pairs = std::get_if<BytePair>(&parts_.model)) {
        pairs->decode(id, text);
      } else if (const auto* pieces = std::get_if<WordPiece>(&parts_.model)) {
        pieces->decode(id, text);
      }
    }
    if (!parts_.metaspace) return text;
    text = absl::StrReplaceAll(text, {{"\xE2\x96\x81", " "}});
    return absl::StartsWith(text, " ") ? text.substr(1) : text;
  }

  std::vector<std::string> files() const override { return files_; }

 private:
  const AddedToken* added_at(absl::string_view text, size_t at) const {
    for (const AddedToken* token : added_[static_cast<uint8_t>(text[at])]) {
      if (absl::StartsWith(text.substr(at), token->content)) return token;
    }
    return nullptr;
  }

  void encode_plain(absl::string_view text, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    std::string changed;
    for (const std::unique_ptr<Normalizer>& normalizer : parts_.normalizers) {
      std::string next = normalizer->apply(text);
      changed = std::move(next);
      text = changed;
    }
    cut(text, 0, ids);
  }

  void cut(absl::string_view piece, size_t step, std::vector<int32_t>& ids) const {
    if (piece.empty()) return;
    if (step < parts_.pre_tokenizers.size()) {
      parts_.pre_tokenizers[step]->split(piece, [&](absl::string_view part) { cut(part, step + 1, ids); });
    } else if (const auto* pairs = std::get_if<BytePair>(&parts_.model)) {
      pairs->encode(piece, ids);
    } else if (const auto* pieces = std::get_if<WordPiece>(&parts_.model)) {
      pieces->encode(piece, ids);
    }
  }

  TokenizerComponents parts_;
  SpecialTokens special_;
  std::vector<std::string> files_;
  int64_t size_ = 0;
  std::vector<const AddedToken*> added_[256];  // by their first byte, the longest first
  absl::flat_hash_map<int32_t, const AddedToken*> added_by_id_;
};

Json read_json(const std::string& path) {
  absl::StatusOr<std::string> text = read_file(path);
  return text.ok() && !nested_too_deeply(*text) ? Json::parse(*text, nullptr, false) : Json();
}

// The id of a role's token, as tokenizer_config.json or special_tokens_map.json names it: a string, or an object with
// `content`; -1 where neither does.
int32_t token_of_role(const std::string& folder, const char* role, const TokenizerComponents& parts) {
  for (const char* file : {"/tokenizer_config.json", "/special_tokens_map.json"}) {
    const Json json = read_json(folder + file);
    if (!json.is_object() || !json.contains(role)) continue;
    const Json& value = json[role];
    std::string content;
    if (value.is_string()) content = value.get<std::string>();
    if (value.is_object() && value.contains("content") && value["content"].is_string())
      content = value["content"].get<std::string>();
    for (const AddedToken& token : parts.added) {
      if (token.content == content) return token.id;
    }
    if (const auto found = parts.vocabulary.find(content); found != parts.vocabulary.end()) return found->second;
  }
  return -1;
}

int32_t first_known(std::initializer_list<const char*> names, const TokenizerComponents& parts) {
  for (const char* name : names) {
    for (const AddedToken& token : parts.added) {
      if (token.content == name) return token.id;
    }
    if (const auto found = parts.vocabulary.find(name); found != parts.vocabulary.end()) return found->second;
  }
  return -1;
}

SpecialTokens special_tokens(const std::string& folder, const TokenizerComponents& parts) {
  const auto role = [&](const char* name, std::initializer_list<const char*> usual) {
    const int32_t said = token_of_role(folder, name, parts);
    return said >= 0 ? said : first_known(usual, parts);
  };
  SpecialTokens special;
  special.classify = role("cls_token", {"[CLS]"});
  special.separator = role("sep_token", {"[SEP]"});
  special.padding = role("pad_token", {"[PAD]", "<pad>"});
  special.unknown = role("unk_token", {"[UNK]", "<unk>"});
  special.mask = role("mask_token", {"[MASK]", "<mask>"});
  special.begin = role("bos_token", {"<s>", "<|begin_of_text|>"});
  special.end = role("eos_token", {"</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>"});
  // RoBERTa's folder of two files says nothing: its <s> and </s> have these roles too.
  if (special.classify < 0) special.classify = special.begin;
  if (special.separator < 0) special.separator = special.end;
  if (special.end < 0) special.end = special.separator;
  return special;
}

absl::StatusOr<TokenizerComponents> read_components(const std::string& source, const std::string& folder) {
  std::error_code error;
  const std::string json_path = fs::is_directory(source, error) ? folder + "/tokenizer.json" : source;
  if (fs::exists(json_path, error)) {
    ASSIGN_OR_RETURN(std::string text, read_file(json_path));
    const Json json = nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
    if (json.is_discarded())
      return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", json_path, " is not valid JSON"));
    return components_from_json(json, json_path);
  }
  if (fs::exists(folder + "/vocab.json", error) && fs::exists(folder + "/merges.txt", error))
    return components_from_bpe_files(folder);
  if (fs::exists(folder + "/vocab.txt", error)) {
    const Json config = read_json(folder + "/tokenizer_config.json");
    const auto said = config.find("do_lower_case");
    const bool lowercase = said == config.end() || !said->is_boolean() || said->get<bool>();
    return components_from_word_piece_file(folder, lowercase);
  }
  return absl::NotFoundError(absl::StrCat("tokenizer: ", source,
                                          " holds no tokenizer; needed is tokenizer.json, tokenizer.model, vocab.json "
                                          "with merges.txt, or vocab.txt"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> open_hugging_face_tokenizer(const std::string& source) {
  std::error_code error;
  const std::string folder = fs::is_directory(source, error) ? source : fs::path(source).parent_path().string();
  ASSIGN_OR_RETURN(TokenizerComponents parts, read_components(source, folder.empty() ? "." : folder));
  const SpecialTokens special = special_tokens(folder.empty() ? "." : folder, parts);
  if (special.end < 0) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", source,
                                                   " has no end token, which joins documents; name one as eos_token in "
                                                   "tokenizer_config.json"));
  }
  std::vector<std::string> files;
  for (const char* name : kFiles) {
    const std::string path = (fs::path(folder) / name).string();
    if (fs::exists(path, error)) files.push_back(path);
  }
  return std::make_unique<HuggingFaceTokenizer>(std::move(parts), special, std::move(files));
}

}  // namespace galleon
