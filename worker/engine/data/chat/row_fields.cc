#include "worker/engine/data/chat/row_fields.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace galleon {

using Json = nlohmann::ordered_json;

RowFields::RowFields(const Json& row) {
  for (auto it = row.begin(); it != row.end(); ++it) {
    if (!it->is_null()) fields_.push_back({{it.key(), absl::AsciiStrToLower(it.key()), &*it}});
  }
}

const Json* RowFields::take(absl::string_view name) {
  for (Field& field : fields_) {
    if (field.column.lower != name) continue;
    field.taken = true;
    return field.column.value;
  }
  return nullptr;
}

bool RowFields::has(absl::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](const Field& field) { return field.column.lower == name; });
}

std::vector<RowFields::Rest> RowFields::rest() const {
  std::vector<Rest> all;
  for (const Field& field : fields_) {
    if (!field.taken) all.push_back(field.column);
  }
  return all;
}

bool says_nothing(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || (value.is_structured() && value.empty());
}

}  // namespace galleon
