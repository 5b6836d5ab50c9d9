#include "client/settings.h"

#include <yaml-cpp/yaml.h>

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace galleon {

absl::StatusOr<Setting> parse_setting(const std::string& option, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return absl::InvalidArgumentError(absl::StrCat(option, " ", text, ": KEY=VALUE is accepted"));
  return Setting{text.substr(0, equals), text.substr(equals + 1)};
}

absl::Status set_key(YAML::Node root, const std::string& option, const Setting& setting) {
  const std::vector<std::string> words = absl::StrSplit(setting.key, '.');
  YAML::Node node;
  node.reset(root);
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    YAML::Node inner = node[words[i]];
    if (!inner.IsMap()) node[words[i]] = inner = YAML::Node(YAML::NodeType::Map);
    node.reset(inner);
  }
  try {
    node[words.back()] = YAML::Load(setting.value);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, " ", setting.key, "=", setting.value, ": not YAML: ", error.msg));
  }
  return absl::OkStatus();
}

absl::Status without_lines(const absl::Status& status, const std::string& option) {
  std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
  for (std::string& line : lines) {
    const size_t digits = absl::StartsWith(line, ":") ? line.find_first_not_of("0123456789", 1) : std::string::npos;
    if (digits == std::string::npos) continue;
    line = absl::StrCat(option, digits == 1 ? line : line.substr(digits));
  }
  return absl::Status(status.code(), absl::StrJoin(lines, "\n"));
}

}  // namespace galleon
