#include "worker/engine/data/tokenizers/hugging_face.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/component_tokenizer.h"
#include "worker/engine/data/tokenizers/components.h"
#include "worker/engine/data/tokenizers/folder_settings.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

int32_t token_named(const std::string& name, const TokenizerComponents& parts) {
  for (const AddedToken& token : parts.added) {
    if (token.content == name) return token.id;
  }
  const auto found = parts.vocabulary.find(name);
  return found == parts.vocabulary.end() ? -1 : found->second;
}

int32_t first_known(std::initializer_list<const char*> names, const TokenizerComponents& parts) {
  for (const char* name : names) {
    if (const int32_t id = token_named(name, parts); id >= 0) return id;
  }
  return -1;
}

absl::StatusOr<SpecialTokens> special_tokens(const FolderSettings& settings, const TokenizerComponents& parts) {
  absl::Status status;
  const auto role = [&](const char* name, std::initializer_list<const char*> usual) {
    const std::string said = settings.token_of_role(name);
    if (said.empty()) return first_known(usual, parts);
    const int32_t id = token_named(said, parts);
    const bool needed = name != absl::string_view("pad_token") && name != absl::string_view("unk_token") &&
                        name != absl::string_view("mask_token");
    if (id < 0 && needed) {
      status.Update(tokenizer_error(settings.config_path(),
                                    absl::StrCat(name, " is \"", said, "\", which the tokenizer's files give no id")));
    }
    return id;
  };
  SpecialTokens special;
  special.classify = role("cls_token", {"[CLS]"});
  special.separator = role("sep_token", {"[SEP]"});
  special.padding = role("pad_token", {"[PAD]", "<pad>"});
  special.unknown = role("unk_token", {"[UNK]", "<unk>"});
  special.mask = role("mask_token", {"[MASK]", "<mask>"});
  special.begin = role("bos_token", {"<s>", "<bos>", "<|begin_of_text|>"});
  special.end = role("eos_token", {"</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>"});
  if (!status.ok()) return status;
  // RoBERTa's folder of two files says nothing: its <s> and </s> have these roles too.
  if (special.classify < 0) special.classify = special.begin;
  if (special.separator < 0) special.separator = special.end;
  if (special.end < 0) special.end = special.separator;
  return special;
}

// As tokenizer_config.json says with add_bos_token and add_eos_token; where it does not, as the post-processor does.
absl::StatusOr<DocumentTokens> tokens_around(const FolderSettings& settings, const TokenizerComponents& parts,
                                             const SpecialTokens& special) {
  ASSIGN_OR_RETURN(const std::optional<bool> begins, settings.flag("add_bos_token"));
  ASSIGN_OR_RETURN(const std::optional<bool> ends, settings.flag("add_eos_token"));
  if (begins.value_or(false) && special.begin < 0)
    return tokenizer_error(settings.config_path(), "add_bos_token is true, and there is no bos_token");
  return DocumentTokens::by_settings(begins.has_value() ? special.begin : parts.before_text,
                                     !ends.has_value() && parts.behind_text >= 0 ? parts.behind_text : special.end,
                                     begins.value_or(parts.before_text >= 0), ends.value_or(parts.behind_text >= 0));
}

// A setting of tokenizer_config.json beside the same in tokenizer.json.
absl::Status agree(const FolderSettings& settings, const char* setting, const char* field, bool in_json) {
  ASSIGN_OR_RETURN(const std::optional<bool> said, settings.flag(setting));
  if (!said.has_value() || *said == in_json) return absl::OkStatus();
  return tokenizer_error(settings.config_path(),
                         absl::StrCat(setting, " is ", *said ? "true" : "false", ", and tokenizer.json's ", field,
                                      " is ", in_json ? "true" : "false", "; make them agree"));
}

absl::Status check_agreement(const FolderSettings& settings, const TokenizerComponents& parts) {
  if (parts.adds_prefix_space.has_value())
    RETURN_IF_ERROR(agree(settings, "add_prefix_space", "add_prefix_space", *parts.adds_prefix_space));
  if (!parts.bert.has_value()) return absl::OkStatus();
  RETURN_IF_ERROR(agree(settings, "do_lower_case", "lowercase", parts.bert->lowercase));
  RETURN_IF_ERROR(agree(settings, "strip_accents", "strip_accents", parts.bert->strip_accents));
  return agree(settings, "tokenize_chinese_chars", "handle_chinese_chars", parts.bert->handle_chinese_chars);
}

// Special tokens beyond the roles are found in a text too, though a file may list them as pieces alone.
absl::Status add_further_special(const FolderSettings& settings, TokenizerComponents& parts) {
  for (const std::string& content : settings.further_special()) {
    AddedToken token;
    token.content = content;
    token.id = token_named(content, parts);
    token.special = true;
    if (token.id < 0) return settings.no_id(content);
    RETURN_IF_ERROR(join_added_token(std::move(token), settings.config_path(), parts));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerComponents> read_word_piece_folder(const std::string& folder, const FolderSettings& settings) {
  RETURN_IF_ERROR(settings.check_class(
      "vocab.txt", {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer",
                    "ConvBertTokenizer", "SqueezeBertTokenizer", "LayoutLMTokenizer"}));
  BertNormalization normalization;
  ASSIGN_OR_RETURN(const std::optional<bool> basic, settings.flag("do_basic_tokenize"));
  if (!basic.value_or(true))
    return tokenizer_error(settings.config_path(), "do_basic_tokenize: false is not available in this version");
  ASSIGN_OR_RETURN(const std::optional<bool> lowercase, settings.flag("do_lower_case"));
  ASSIGN_OR_RETURN(const std::optional<bool> accents, settings.flag("strip_accents"));
  ASSIGN_OR_RETURN(const std::optional<bool> chinese, settings.flag("tokenize_chinese_chars"));
  normalization.lowercase = lowercase.value_or(true);
  normalization.strip_accents = accents.value_or(normalization.lowercase);
  normalization.handle_chinese_chars = chinese.value_or(true);
  return components_from_word_piece_file(folder, normalization);
}

absl::StatusOr<TokenizerComponents> read_components(const std::string& source, const std::string& folder,
                                                    const FolderSettings& settings) {
  std::error_code error;
  const std::string json_path = fs::is_directory(source, error) ? folder + "/tokenizer.json" : source;
  if (fs::exists(json_path, error)) {
    ASSIGN_OR_RETURN(std::string text, read_to_parse(json_path));
    const Json json = nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
    if (json.is_discarded())
      return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", json_path, " is not valid JSON"));
    ASSIGN_OR_RETURN(TokenizerComponents parts, components_from_json(json, json_path));
    RETURN_IF_ERROR(check_agreement(settings, parts));
    return parts;
  }
  if (fs::exists(folder + "/vocab.json", error) && fs::exists(folder + "/merges.txt", error)) {
    RETURN_IF_ERROR(settings.check_class(
        "vocab.json and merges.txt", {"GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer", "LongformerTokenizer"}));
    RETURN_IF_ERROR(settings.refuse("do_lower_case", true, "vocab.json and merges.txt"));
    ASSIGN_OR_RETURN(const std::optional<bool> prefix, settings.flag("add_prefix_space"));
    return components_from_bpe_files(folder, prefix.value_or(false));
  }
  if (fs::exists(folder + "/vocab.txt", error)) return read_word_piece_folder(folder, settings);
  return absl::NotFoundError(absl::StrCat("tokenizer: ", source,
                                          " holds no tokenizer; needed is tokenizer.json, tokenizer.model, vocab.json "
                                          "with merges.txt, or vocab.txt"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> open_hugging_face_tokenizer(const std::string& source) {
  std::error_code error;
  std::string folder = fs::is_directory(source, error) ? source : fs::path(source).parent_path().string();
  if (folder.empty()) folder = ".";
  ASSIGN_OR_RETURN(const FolderSettings settings, FolderSettings::read(folder));
  ASSIGN_OR_RETURN(TokenizerComponents parts, read_components(source, folder, settings));
  for (const AddedToken& token : settings.added())
    RETURN_IF_ERROR(join_added_token(token, settings.config_path(), parts));
  RETURN_IF_ERROR(add_further_special(settings, parts));
  ASSIGN_OR_RETURN(const SpecialTokens special, special_tokens(settings, parts));
  if (special.end < 0) {
    return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", source,
                                                   " has no end token, which joins documents; name one as eos_token in "
                                                   "tokenizer_config.json"));
  }
  ASSIGN_OR_RETURN(const DocumentTokens around, tokens_around(settings, parts, special));
  std::vector<std::string> files = tokenizer_files_of(folder);
  // One of another name takes the place of tokenizer.json.
  if (!fs::is_directory(source, error) && fs::path(source).filename() != "tokenizer.json") {
    files.erase(std::remove(files.begin(), files.end(), (fs::path(folder) / "tokenizer.json").string()), files.end());
    files.push_back(source);
  }
  return make_component_tokenizer(std::move(parts), special, around, std::move(files), source);
}

}  // namespace galleon
