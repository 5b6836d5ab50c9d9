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
  ASSIGN_OR_RETURN(const std::string text, read_file(path));
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

absl::StatusOr<FolderSettings> FolderSettings::read(const std::string& folder) {
  FolderSettings settings;
  settings.config_path_ = (fs::path(folder) / "tokenizer_config.json").string();
  ASSIGN_OR_RETURN(settings.config_, read_object(settings.config_path_));
  ASSIGN_OR_RETURN(settings.roles_, read_object((fs::path(folder) / "special_tokens_map.json").string()));
  const std::string names_path = (fs::path(folder) / "added_tokens.json").string();
  ASSIGN_OR_RETURN(const Json names, read_object(names_path));
  RETURN_IF_ERROR(settings.read_decoder());
  RETURN_IF_ERROR(settings.read_names(names, names_path));
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
