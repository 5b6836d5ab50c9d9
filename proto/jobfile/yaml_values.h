// Scalars of YAML as the job file understands them: YAML 1.2's words for null and booleans, plain against quoted.
#pragma once

#include <yaml-cpp/yaml.h>

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace galleon {

bool is_null(const YAML::Node& node);
// A tag such as !!binary or !include; quoted and plain scalars have none.
bool has_foreign_tag(const YAML::Node& node);
// The value as an error message shows it: `"adamm"`, `a list`, `null`.
std::string describe_value(const YAML::Node& node);

// The text of a scalar that is a string: quoted, or plain and not a number, boolean or null.
bool read_string(const YAML::Node& node, std::string& text);
// Sets a singular field that is no message. False: wrong type or out of range, and nothing was set.
bool set_scalar(const YAML::Node& node, const google::protobuf::FieldDescriptor& field,
                google::protobuf::Message& message);

std::string json_string(absl::string_view text);
// A scalar as JSON: null, true, a number, or a string.
std::string json_scalar(const YAML::Node& node);

// The first line that is not UTF-8 or holds a control character; 0 if none.
int first_bad_line(absl::string_view text);

}  // namespace galleon
