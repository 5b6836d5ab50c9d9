#include "worker/engine/checkpoint/weight_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/engine/ground/json_fields.h"

namespace galleon {

absl::StatusOr<std::vector<std::string>> names_of_index(absl::string_view text, const std::string& path) {
  ASSIGN_OR_RETURN(const nlohmann::json index, parse_json_object(text, path));
  JsonFields fields(index, path);
  std::vector<std::string> names;
  for (const auto& [tensor, file] : fields.object("weight_map").items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    const bool beside =
        !name.empty() && name != "." && name != ".." && name.find_first_of("/\0", 0, 2) == std::string::npos;
    if (!beside) return absl::DataLossError(absl::StrCat(path, ": ", tensor, " names no file beside it: ", name));
    names.push_back(name);
  }
  RETURN_IF_ERROR(fields.status());
  if (names.empty()) return absl::DataLossError(absl::StrCat(path, " is damaged: weight_map names no file"));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace galleon
