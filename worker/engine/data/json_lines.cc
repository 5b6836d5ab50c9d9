#include "worker/engine/data/json_lines.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {

std::string line_name(const std::string& path, int64_t line) {
  return absl::StrCat(path, ":", line);
}

absl::Status for_each_line(const InputPiece& piece,
                           const std::function<absl::Status(absl::string_view line, int64_t number)>& take) {
  absl::string_view rest = piece.text;
  for (int64_t number = piece.first_line; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    absl::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == absl::string_view::npos ? rest.size() : end + 1);
    absl::ConsumeSuffix(&line, "\r");
    if (line.find_first_not_of(" \t") == absl::string_view::npos) continue;
    RETURN_IF_ERROR(take(line, number));
  }
  return absl::OkStatus();
}

absl::Status for_each_json_line(
    const InputPiece& piece, const std::string& path,
    const std::function<absl::Status(const nlohmann::ordered_json& json, int64_t number)>& take) {
  return for_each_line(piece, [&](absl::string_view line, int64_t number) {
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(line.begin(), line.end(), nullptr, false);
    if (json.is_discarded()) {
      const std::string sound = valid_utf8(line);
      if (sound != line) json = nlohmann::ordered_json::parse(sound, nullptr, false);
    }
    if (json.is_discarded() || !json.is_object())
      return absl::InvalidArgumentError(absl::StrCat(line_name(path, number), ": not a JSON object"));
    return take(json, number);
  });
}

}  // namespace galleon
