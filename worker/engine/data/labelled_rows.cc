#include "worker/engine/data/labelled_rows.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/json_lines.h"
#include "worker/engine/data/table_rows.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;
using TakeRow = std::function<absl::Status(const TsvRow& row, int64_t number)>;

absl::Status check_names(const TsvLayout& layout, const InputPiece& piece, const std::string& path) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, cells_of_row(piece.header, separator_of(piece.format)));
  for (const std::string& name : named_columns(layout)) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":1: there is no column \"", name, "\"; there are: ", absl::StrJoin(names, ", ")));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<const Json*> field_of(const Json& json, const std::string& name, const std::string& where) {
  const auto found = json.find(name);
  if (found != json.end()) return &*found;
  std::vector<std::string> names;
  for (const auto& [key, value] : json.items()) names.push_back(key);
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": there is no field \"", name, "\"; there are: ", absl::StrJoin(names, ", ")));
}

absl::Status read_object(const TsvLayout& layout, const Json& json, const std::string& where, TsvRow& row) {
  row = {};
  for (const std::string& column : layout.text_columns) {
    ASSIGN_OR_RETURN(const Json* text, field_of(json, column, where));
    if (!text->is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": \"", column, "\" is of type ", text->type_name(), " and no text"));
    }
    row.texts.emplace_back(text->get_ref<const std::string&>());
  }
  ASSIGN_OR_RETURN(const Json* label, field_of(json, layout.label_column, where));
  if (label->is_number()) row.unquoted = {label->dump()};
  if (label->is_number()) {
    row.label = row.unquoted.front();
  } else if (label->is_string()) {
    row.label = absl::StripAsciiWhitespace(label->get_ref<const std::string&>());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the label is of type ", label->type_name(), "; a number or a text is accepted"));
  }
  if (row.label.empty()) return absl::InvalidArgumentError(absl::StrCat(where, ": the label is empty"));
  return absl::OkStatus();
}

absl::Status for_each_line_of_tabs(const TsvLayout& layout, const InputPiece& piece, const std::string& path,
                                   BadRows* bad, LeftOut* left_out, const TakeRow& take) {
  ASSIGN_OR_RETURN(TsvColumns columns, TsvColumns::create(layout, piece.header, path));
  return for_each_line(piece, [&](absl::string_view line, int64_t number) {
    if (layout.leaves_out_short_rows && left_out != nullptr && !columns.has_enough(line)) {
      if (left_out->count++ == 0) left_out->first = line_name(path, number);
      left_out->reason = "has too few columns";
      return absl::OkStatus();
    }
    TsvRow row;
    absl::Status status = columns.read(line, line_name(path, number), row);
    if (status.ok()) status = take(row, number);
    return counted_bad_row(piece, bad, status);
  });
}

}  // namespace

absl::Status for_each_labelled_row(const TsvLayout& layout, const InputPiece& piece, const std::string& path,
                                   BadRows* bad, LeftOut* left_out, const TakeRow& take) {
  if (piece.text.empty()) return absl::OkStatus();
  if (piece.format == InputFormat::kTsv) return for_each_line_of_tabs(layout, piece, path, bad, left_out, take);
  if (!layout.header) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is no TSV file; the columns of this data.glue_task have no names, and are read from TSV"));
  }
  if (is_table(piece.format)) RETURN_IF_ERROR(check_names(layout, piece, path));
  return for_each_json_line(piece, path, bad, [&](const Json& json, int64_t number) {
    TsvRow row;
    RETURN_IF_ERROR(read_object(layout, json, line_name(path, number), row));
    return take(row, number);
  });
}

}  // namespace galleon
