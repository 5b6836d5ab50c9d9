#include "worker/engine/model/adapter_folder.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/reach.h"

namespace galleon {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The model that an adapter says it is for; empty: it does not say.
std::string base_of(const std::string& config_path) {
  const absl::StatusOr<std::string> text = read_to_parse(config_path);
  if (!text.ok() || nested_too_deeply(*text)) return "";
  const Json json = Json::parse(*text, nullptr, false);
  const auto base = json.is_object() ? json.find("base_model_name_or_path") : json.end();
  return json.is_object() && base != json.end() && base->is_string() ? base->get<std::string>() : "";
}

}  // namespace

absl::Status refuse_adapter_folder(const std::string& folder) {
  const std::string config = absl::StrCat(folder, "/adapter_config.json");
  std::error_code error;
  if (!fs::exists(config, error)) return absl::OkStatus();
  const std::string what = absl::StrCat(folder, " holds an adapter (adapter_config.json), which peft puts on ");
  const fs::path around = fs::weakly_canonical(folder, error).parent_path();
  if (!error && fs::exists(around / "manifest.json", error) && fs::exists(around / "model.safetensors", error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "another model; name ", around.string(), ", the checkpoint around it, where it is merged"));
  }
  const std::string base = base_of(config);
  return absl::InvalidArgumentError(
      absl::StrCat(what, base.empty() ? "another model" : base,
                   "; merge it into that (peft: merge_and_unload, then save_pretrained), and name the merged folder"));
}

}  // namespace galleon
