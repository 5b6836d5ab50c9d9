// What the files beside a tokenizer say of it: tokenizer_config.json, special_tokens_map.json and added_tokens.json.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/tokenizers/added_tokens.h"

namespace galleon {

class FolderSettings {
 public:
  // Files that are not there say nothing. INVALID_ARGUMENT: one of them is not a JSON object, or an added token in it
  // is not sound.
  static absl::StatusOr<FolderSettings> read(const std::string& folder);

  // A setting of tokenizer_config.json; nullopt: it is missing or null. INVALID_ARGUMENT: of another type.
  absl::StatusOr<std::optional<bool>> flag(const char* name) const;
  // Without the "Fast" at its end; empty: it is not said.
  std::string tokenizer_class() const;
  // The text of a role's token ("eos_token"); empty: it is not said.
  std::string token_of_role(const char* role) const;
  // Of added_tokens_decoder and added_tokens.json, by id.
  const std::vector<AddedToken>& added() const { return added_; }
  const std::string& config_path() const { return config_path_; }

 private:
  absl::Status read_decoder();
  absl::Status read_names(const nlohmann::json& names, const std::string& path);

  std::string config_path_;
  nlohmann::json config_;
  nlohmann::json roles_;
  std::vector<AddedToken> added_;
};

// Files of a tokenizer that a checkpoint carries along, as they are: those of a folder that exist. With them goes
// generation_config.json, which names end tokens by its ids.
std::vector<std::string> tokenizer_files_of(const std::string& folder);

}  // namespace galleon
