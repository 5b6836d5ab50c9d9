// What the files beside a tokenizer say of it: tokenizer_config.json, special_tokens_map.json and added_tokens.json.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizers/added_tokens.h"

namespace galleon {

class FolderSettings {
 public:
  // Files that are not there say nothing. INVALID_ARGUMENT: one of them is not a JSON object, an added token in it is
  // not sound, or a setting asks for other ids than this version makes, whatever the kind of the tokenizer.
  static absl::StatusOr<FolderSettings> read(const std::string& folder);

  // A setting of tokenizer_config.json; nullopt: it is missing or null. INVALID_ARGUMENT: of another type.
  absl::StatusOr<std::optional<bool>> flag(const char* name) const;
  // INVALID_ARGUMENT where a setting is `value`, with the files that cannot do it.
  absl::Status refuse(const char* name, bool value, const char* files) const;
  // INVALID_ARGUMENT where the class is none of `accepted`: the files do not say how another one cuts text.
  absl::Status check_class(const char* files, std::initializer_list<const char*> accepted) const;
  // Without the "Fast" at its end; empty: it is not said.
  std::string tokenizer_class() const;
  // The text of a role's token ("eos_token"); empty: it is not said.
  std::string token_of_role(const char* role) const;
  // The texts of special tokens beyond the roles: additional_special_tokens and extra_special_tokens.
  const std::vector<std::string>& further_special() const { return further_special_; }
  // INVALID_ARGUMENT: one of them has no id.
  absl::Status no_id(const std::string& further_special) const;
  // Of added_tokens_decoder and added_tokens.json, by id.
  const std::vector<AddedToken>& added() const { return added_; }
  const std::string& config_path() const { return config_path_; }

 private:
  absl::Status read_decoder();
  absl::Status read_further_special();
  absl::Status check_sampling() const;
  absl::Status read_names(const nlohmann::json& names, const std::string& path);

  std::string config_path_;
  std::string roles_path_;
  nlohmann::json config_;
  nlohmann::json roles_;
  std::vector<AddedToken> added_;
  std::vector<std::string> further_special_;
};

// Files of a tokenizer that a checkpoint carries along, as they are: those of a folder that exist. With them goes
// generation_config.json, which names end tokens by its ids.
std::vector<std::string> tokenizer_files_of(const std::string& folder);

}  // namespace galleon
