#include "worker/engine/data/tokenizers/folder_settings.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/component_fields.h"
#include "worker/engine/data/tokenizers/components.h"

namespace galleon {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kFiles[] = {"tokenizer.json",
                                  "tokenizer.model",
                                  "spiece.model",
                                  "vocab.json",
                                  "merges.txt",
                                  "vocab.txt",
                                  "added_tokens.json",
                                  "tokenizer_config.json",
                                  "special_tokens_map.json",
                                  "chat_template.jinja",
                                  "generation_config.json"};

// Null where there is no such file.
absl::StatusOr<Json> read_object(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return Json();
  ASSIGN_OR_RETURN(const std::string text, read_to_parse(path));
  Json json = nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
  if (!json.is_object()) return tokenizer_error(path, "is not a JSON object");
  return json;
}

std::string content_of(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  const auto content = token.is_object() ? token.find("content") : token.end();
  return token.is_object() && content != token.end() && content->is_string() ? content->get<std::string>() : "";
}

}  // namespace

// added_tokens_decoder: by id, written as a text.
absl::Status FolderSettings::read_decoder() {
  const auto found = config_.is_object() ? config_.find("added_tokens_decoder") : config_.end();
  if (!config_.is_object() || found == config_.end() || found->is_null()) return absl::OkStatus();
  if (!found->is_object()) return tokenizer_error(config_path_, "added_tokens_decoder is not a JSON object");
  for (const auto& [id, token] : found->items()) {
    int64_t number = -1;
    if (!absl::SimpleAtoi(id, &number))
      return tokenizer_error(config_path_, absl::StrCat("added_tokens_decoder has \"", id, "\", which is no id"));
    ASSIGN_OR_RETURN(AddedToken added, read_added_token(token, number, config_path_));
    added_.push_back(std::move(added));
  }
  return absl::OkStatus();
}

// added_tokens.json: ids by token.
absl::Status FolderSettings::read_names(const Json& names, const std::string& path) {
  if (names.is_null()) return absl::OkStatus();
  for (const auto& [content, id] : names.items()) {
    if (!id.is_number_integer()) return tokenizer_error(path, absl::StrCat("\"", content, "\" has no id"));
    const Json token = {{"content", content}, {"normalized", false}};
    ASSIGN_OR_RETURN(AddedToken added, read_added_token(token, id.get<int64_t>(), path));
    const auto known =
        std::find_if(added_.begin(), added_.end(), [&](const AddedToken& one) { return one.content == added.content; });
    if (known == added_.end()) {
      added_.push_back(std::move(added));
    } else if (known->id != added.id) {
      return tokenizer_error(path,
                             absl::StrCat("the added token \"", content, "\" has another id than in ", config_path_));
    }
  }
  return absl::OkStatus();
}

// A list, or tokens by names of their own.
absl::Status FolderSettings::read_further_special() {
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
    for (const Json* json : {&config_, &roles_}) {
      if (!json->is_object() || !json->contains(name) || (*json)[name].is_null()) continue;
      const Json& tokens = (*json)[name];
      const std::string path = json == &config_ ? config_path_ : roles_path_;
      if (!tokens.is_array() && !tokens.is_object())
        return tokenizer_error(path, absl::StrCat(name, " is neither a list nor a JSON object"));
      for (const Json& token : tokens) {
        std::string content = content_of(token);
        if (content.empty())
          return tokenizer_error(path, absl::StrCat(name, " has ", token.dump(), ", which is no token"));
        if (std::find(further_special_.begin(), further_special_.end(), content) == further_special_.end())
          further_special_.push_back(std::move(content));
      }
    }
  }
  return absl::OkStatus();
}

// sp_model_kwargs: how the SentencePiece library is called. Without sampling its numbers mean nothing.
absl::Status FolderSettings::check_sampling() const {
  const auto found = config_.is_object() ? config_.find("sp_model_kwargs") : config_.end();
  if (!config_.is_object() || found == config_.end() || found->is_null()) return absl::OkStatus();
  if (!found->is_object()) return tokenizer_error(config_path_, "sp_model_kwargs is not a JSON object");
  for (const auto& [name, value] : found->items()) {
    const bool of_sampling = name == "nbest_size" || name == "alpha" || name == "num_threads";
    const bool off = value.is_null() || (value.is_boolean() && !value.get<bool>());
    const bool is_switch = name == "enable_sampling" || name == "add_bos" || name == "add_eos" || name == "reverse" ||
                           name == "emit_unk_piece";
    if (of_sampling || (is_switch && off)) continue;
    return tokenizer_error(
        config_path_,
        absl::StrCat("sp_model_kwargs.", name, ": ", value.dump(), " is not available in this version; available: ",
                     is_switch ? "false" : "enable_sampling: false, nbest_size, alpha"));
  }
  return absl::OkStatus();
}

absl::StatusOr<FolderSettings> FolderSettings::read(const std::string& folder) {
  FolderSettings settings;
  settings.config_path_ = (fs::path(folder) / "tokenizer_config.json").string();
  ASSIGN_OR_RETURN(settings.config_, read_object(settings.config_path_));
  settings.roles_path_ = (fs::path(folder) / "special_tokens_map.json").string();
  ASSIGN_OR_RETURN(settings.roles_, read_object(settings.roles_path_));
  const std::string names_path = (fs::path(folder) / "added_tokens.json").string();
  ASSIGN_OR_RETURN(const Json names, read_object(names_path));
  RETURN_IF_ERROR(settings.read_decoder());
  RETURN_IF_ERROR(settings.read_names(names, names_path));
  RETURN_IF_ERROR(settings.read_further_special());
  RETURN_IF_ERROR(settings.check_sampling());
  RETURN_IF_ERROR(settings.refuse("split_special_tokens", true, "a tokenizer"));
  std::sort(settings.added_.begin(), settings.added_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return settings;
}

absl::StatusOr<std::optional<bool>> FolderSettings::flag(const char* name) const {
  const auto found = config_.is_object() ? config_.find(name) : config_.end();
  if (!config_.is_object() || found == config_.end() || found->is_null()) return std::optional<bool>();
  if (found->is_boolean()) return std::optional<bool>(found->get<bool>());
  return tokenizer_error(config_path_, absl::StrCat(name, ": ", found->dump(), "; true or false is accepted"));
}

absl::Status FolderSettings::refuse(const char* name, bool value, const char* files) const {
  ASSIGN_OR_RETURN(const std::optional<bool> said, flag(name));
  if (said.value_or(!value) != value) return absl::OkStatus();
  return tokenizer_error(config_path_, absl::StrCat(name, ": ", value ? "true" : "false", " is not available for ",
                                                    files, " in this version; available: ", value ? "false" : "true"));
}

absl::Status FolderSettings::check_class(const char* files, std::initializer_list<const char*> accepted) const {
  const std::string name = tokenizer_class();
  if (name.empty() || name == "PreTrainedTokenizer" ||
      std::any_of(accepted.begin(), accepted.end(), [&](const char* one) { return name == one; }))
    return absl::OkStatus();
  return tokenizer_error(config_path_, absl::StrCat("how a ", name, " cuts text does not stand in ", files,
                                                    "; tokenizer.json beside them is needed"));
}

absl::Status FolderSettings::no_id(const std::string& further_special) const {
  return tokenizer_error(config_path_, absl::StrCat("the special token \"", further_special,
                                                    "\" has no id in the tokenizer's files; added_tokens.json gives "
                                                    "tokens ids"));
}

std::string FolderSettings::tokenizer_class() const {
  const std::string name =
      config_.is_object() && config_.contains("tokenizer_class") ? content_of(config_["tokenizer_class"]) : "";
  return std::string(absl::StripSuffix(name, "Fast"));
}

std::string FolderSettings::token_of_role(const char* role) const {
  for (const Json* json : {&config_, &roles_}) {
    if (!json->is_object() || !json->contains(role)) continue;
    if (std::string content = content_of((*json)[role]); !content.empty()) return content;
  }
  return "";
}

std::vector<std::string> tokenizer_files_of(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (const char* name : kFiles) {
    std::string path = (fs::path(folder) / name).string();
    if (fs::exists(path, error)) files.push_back(std::move(path));
  }
  return files;
}

}  // namespace galleon
