#include "worker/engine/model/end_tokens.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"
#include "common/base/status_macros.h"

namespace galleon {
namespace {

using Json = nlohmann::json;

absl::Status add_tokens(const Json& found, const std::string& path, std::vector<int32_t>& tokens) {
  for (const Json& one : found.is_array() ? found : Json::array({found})) {
    const bool id = one.is_number_integer() && one >= 0 && one <= std::numeric_limits<int32_t>::max();
    if (!id) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": eos_token_id is ", found.dump(), "; an id or a list of ids is accepted"));
    }
    if (std::find(tokens.begin(), tokens.end(), one.get<int32_t>()) == tokens.end())
      tokens.push_back(one.get<int32_t>());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> end_tokens_of_folder(const std::string& folder) {
  std::vector<int32_t> tokens;
  for (const char* name : {"config.json", "generation_config.json"}) {
    const std::string path = (std::filesystem::path(folder) / name).string();
    std::error_code error;
    if (!std::filesystem::exists(path, error)) continue;
    ASSIGN_OR_RETURN(const std::string text, read_to_parse(path));
    const Json json = nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
    if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(path, " is not a JSON object"));
    const auto found = json.find("eos_token_id");
    if (found == json.end() || found->is_null()) continue;
    RETURN_IF_ERROR(add_tokens(*found, path, tokens));
  }
  return tokens;
}

}  // namespace galleon
