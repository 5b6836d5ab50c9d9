// Values of chat templates and what can be done with them: Python's, as far as templates see them. They are JSON; a
// value that does not exist ("undefined") is one of the type `discarded`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace galleon {

using TemplateValue = nlohmann::ordered_json;

TemplateValue undefined_value();
bool is_true(const TemplateValue& value);
// As str() writes it; undefined is empty.
std::string text_of(const TemplateValue& value);
// How json.dumps writes; as transformers' tojson has it where nothing is said.
struct JsonStyle {
  int indent = -1;             // below 0: in one line
  std::string item_separator;  // empty: ", ", or "," at the ends of lines
  std::string key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};
std::string json_text_of(const TemplateValue& value, const JsonStyle& style);
// Characters of a string, members of a list or a map.
int64_t length_of(const TemplateValue& value);
// What a loop goes through: members, keys of a map, characters. INVALID_ARGUMENT: neither.
absl::StatusOr<std::vector<TemplateValue>> members_of(const TemplateValue& value);
// value[index]; undefined where there is none.
TemplateValue member(const TemplateValue& value, const TemplateValue& index);
// value[begin:end:step]; each may be null.
absl::StatusOr<TemplateValue> slice(const TemplateValue& value, const TemplateValue& begin, const TemplateValue& end,
                                    const TemplateValue& step);
// Operators but "and" and "or", which do not always look at their right side.
absl::StatusOr<TemplateValue> apply_operator(const std::string& name, const TemplateValue& left,
                                             const TemplateValue& right);

// Arguments of a filter, a test or a method.
struct TemplateArguments {
  std::vector<TemplateValue> values;
  std::vector<std::pair<std::string, TemplateValue>> named;
  // The argument at a place or of a name; undefined where there is none.
  TemplateValue get(size_t place, const std::string& name) const;
};
// subject | name(…). UNIMPLEMENTED names a filter that this version does not have.
absl::StatusOr<TemplateValue> apply_filter(const std::string& name, const TemplateValue& subject,
                                           const TemplateArguments& arguments);
// subject is name(…)
absl::StatusOr<bool> apply_test(const std::string& name, const TemplateValue& subject,
                                const TemplateArguments& arguments);
// subject.name(…)
absl::StatusOr<TemplateValue> call_method(const std::string& name, const TemplateValue& subject,
                                          const TemplateArguments& arguments);

}  // namespace galleon
