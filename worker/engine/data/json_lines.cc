#include "worker/engine/data/json_lines.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/table_rows.h"
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

absl::Status counted_bad_row(const InputPiece& piece, BadRows* bad, absl::Status status) {
  if (status.ok() || bad == nullptr || !piece.skip_bad_rows || status.code() != absl::StatusCode::kInvalidArgument)
    return status;
  ++bad->count;
  if (bad->first.size() < kBadRowsNamed) bad->first.emplace_back(status.message());
  return absl::OkStatus();
}

namespace {

using Json = nlohmann::ordered_json;
using TakeRow = std::function<absl::Status(const Json& json, int64_t number)>;

absl::Status no_object(const std::string& path, int64_t number, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(line_name(path, number), ": not a JSON object: ", why));
}

// What the parser's message says behind its own name and place.
std::string plain_reason(absl::string_view what) {
  const size_t column = what.find("column ");
  const size_t colon = what.find(": ", column == absl::string_view::npos ? 0 : column);
  return std::string(colon == absl::string_view::npos ? what : what.substr(colon + 2));
}

std::string parse_reason(const std::string& line) {
  try {
    const Json unused = Json::parse(line);
  } catch (const Json::parse_error& e) {
    const size_t at = e.byte == 0 ? 0 : e.byte - 1;
    const std::string place = absl::StrCat(" at column ", at + 1);
    const absl::string_view near = absl::string_view(line).substr(std::min(line.size(), at > 8 ? at - 8 : 0), 20);
    for (const absl::string_view word : {"NaN", "Infinity"})
      if (absl::StrContains(near, word))
        return absl::StrCat(word, place, " is no number of JSON; null may stand for it");
    if (absl::StrContains(e.what(), "surrogate"))
      return absl::StrCat("a lone surrogate", place, " (\\ud800 to \\udfff) is no character");
    if (absl::StrContains(e.what(), "unexpected end of input")) return "the line ends within it";
    return absl::StrCat(plain_reason(e.what()), place);
  } catch (const Json::out_of_range& e) {
    return absl::StrCat("a number is out of the range of 64-bit floats (", plain_reason(e.what()), ")");
  }
  return "";
}

std::string type_reason(const Json& json) {
  if (json.is_null()) return "it is null";
  return absl::StrCat(json.is_array() ? "it is an array" : "it is a ", json.is_array() ? "" : json.type_name());
}

absl::Status take_line(absl::string_view line, const std::string& path, int64_t number, const TakeRow& take) {
  Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  std::string sound(line);
  if (json.is_discarded()) {
    sound = valid_utf8(line);
    if (sound != line) json = Json::parse(sound, nullptr, false);
  }
  if (json.is_discarded()) return no_object(path, number, parse_reason(sound));
  if (!json.is_object()) return no_object(path, number, type_reason(json));
  return take(json, number);
}

absl::Status take_cells(const std::vector<std::string>& names, absl::string_view row, char separator,
                        const std::string& path, int64_t number, const TakeRow& take) {
  absl::StatusOr<std::vector<std::string>> cells = cells_of_row(row, separator);
  if (!cells.ok())
    return absl::InvalidArgumentError(absl::StrCat(line_name(path, number), ": ", cells.status().message()));
  if (cells->size() != names.size()) {
    return absl::InvalidArgumentError(absl::StrCat(line_name(path, number), ": ", cells->size(),
                                                   cells->size() == 1 ? " cell" : " cells", ", and the header has ",
                                                   names.size()));
  }
  Json json = Json::object();
  for (size_t i = 0; i < names.size(); ++i) json[names[i]] = valid_utf8((*cells)[i]);
  return take(json, number);
}

absl::StatusOr<std::vector<std::string>> column_names(const InputPiece& piece, const std::string& path) {
  absl::StatusOr<std::vector<std::string>> names = cells_of_row(piece.header, separator_of(piece.format));
  if (!names.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ":1: ", names.status().message()));
  const std::set<std::string> different(names->begin(), names->end());
  if (different.size() < names->size())
    return absl::InvalidArgumentError(absl::StrCat(path, ":1: a column is named twice: ", absl::StrJoin(*names, ", ")));
  return names;
}

absl::Status for_each_table_row(const InputPiece& piece, const std::string& path, BadRows* bad, const TakeRow& take) {
  const char separator = separator_of(piece.format);
  absl::string_view rest = piece.text;
  if (rest.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> names, column_names(piece, path));
  for (int64_t number = piece.first_line; !rest.empty();) {
    const absl::string_view row = rest.substr(0, row_bytes(rest, separator));
    rest.remove_prefix(row.size());
    if (row.find_first_not_of(" \r\n") != absl::string_view::npos) {
      RETURN_IF_ERROR(counted_bad_row(piece, bad, take_cells(names, row, separator, path, number, take)));
    }
    number += std::count(row.begin(), row.end(), '\n');
  }
  return absl::OkStatus();
}

}  // namespace

void BadRows::add(const BadRows& other) {
  count += other.count;
  for (const std::string& one : other.first)
    if (first.size() < kBadRowsNamed) first.push_back(one);
}

absl::Status for_each_json_line(
    const InputPiece& piece, const std::string& path, BadRows* bad,
    const std::function<absl::Status(const nlohmann::ordered_json& json, int64_t number)>& take) {
  if (is_table(piece.format)) return for_each_table_row(piece, path, bad, take);
  return for_each_line(piece, [&](absl::string_view line, int64_t number) {
    return counted_bad_row(piece, bad, take_line(line, path, number, take));
  });
}

}  // namespace galleon
