#include "proto/jobfile/yaml_values.h"

#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/utf8.h"
#include "proto/jobfile/keys.h"

namespace galleon {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

bool is_plain(const YAML::Node& node) {
  return node.Tag() != "!";
}

bool is_number(absl::string_view text) {
  double value = 0;
  if (text.empty() || !(absl::ascii_isdigit(text.back()) || text.back() == '.')) return false;
  return absl::SimpleAtod(text, &value);
}

template <typename Integer>
std::optional<Integer> parse_whole(absl::string_view text) {
  // SimpleAtoi forgives surrounding blanks and a leading plus; a scalar has no blanks, and a plus is no slip.
  Integer value = 0;
  if (!absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

}  // namespace

bool is_null(const YAML::Node& node) {
  if (node.IsNull() || !node.IsDefined()) return true;
  if (!node.IsScalar() || !is_plain(node)) return false;
  const std::string& text = node.Scalar();
  return text == "null" || text == "~" || text == "Null" || text == "NULL";
}

bool has_foreign_tag(const YAML::Node& node) {
  const std::string& tag = node.Tag();
  return !tag.empty() && tag != "?" && tag != "!";
}

std::string describe_value(const YAML::Node& node) {
  if (is_null(node)) return "null";
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  std::string text = node.Scalar();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return absl::StrCat("\"", text, "\"");
}

bool read_string(const YAML::Node& node, std::string& text) {
  if (is_null(node)) return false;
  const std::string& scalar = node.Scalar();
  if (is_plain(node) && (is_number(scalar) || scalar == "true" || scalar == "false")) return false;
  text = scalar;
  return true;
}

bool set_scalar(const YAML::Node& node, const FieldDescriptor& field, Message& message) {
  const Reflection& reflection = *message.GetReflection();
  const std::string& text = node.Scalar();
  const v1::KeyOptions& options = key_options(field);
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    std::string value;
    if (!read_string(node, value)) return false;
    reflection.SetString(&message, &field, value);
    return true;
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    const auto* value = find_enum_word(*field.enum_type(), text);
    if (value == nullptr) return false;
    reflection.SetEnum(&message, &field, value);
    return true;
  }
  if (options.bytes() || options.duration()) {
    const std::optional<uint64_t> value = options.bytes() ? parse_bytes(text) : parse_duration(text);
    if (!value) return false;
    reflection.SetUInt64(&message, &field, *value);
    return true;
  }
  if (!is_plain(node)) return false;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      reflection.SetBool(&message, &field, text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_UINT32:
      if (const auto value = parse_whole<uint32_t>(text)) return reflection.SetUInt32(&message, &field, *value), true;
      return false;
    case FieldDescriptor::CPPTYPE_UINT64:
      if (const auto value = parse_whole<uint64_t>(text)) return reflection.SetUInt64(&message, &field, *value), true;
      return false;
    case FieldDescriptor::CPPTYPE_INT32:
      if (const auto value = parse_whole<int32_t>(text)) return reflection.SetInt32(&message, &field, *value), true;
      return false;
    case FieldDescriptor::CPPTYPE_INT64:
      if (const auto value = parse_whole<int64_t>(text)) return reflection.SetInt64(&message, &field, *value), true;
      return false;
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value = 0;
      if (!is_number(text) || !absl::SimpleAtod(text, &value) || !std::isfinite(value)) return false;
      reflection.SetDouble(&message, &field, value);
      return true;
    }
    default:
      return false;
  }
}

std::string json_string(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_scalar(const YAML::Node& node) {
  if (is_null(node)) return "null";
  const std::string& text = node.Scalar();
  if (!is_plain(node)) return json_string(text);
  if (text == "true" || text == "false") return text;
  int64_t whole = 0;
  if (absl::SimpleAtoi(text, &whole)) return absl::StrCat(whole);
  double number = 0;
  if (is_number(text) && absl::SimpleAtod(text, &number) && std::isfinite(number))
    return absl::StrFormat("%.17g", number);
  return json_string(text);
}

int first_bad_line(absl::string_view text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) return line;
    if (lead == '\n') ++line;
    if (lead < 0x20 && lead != '\n' && lead != '\r' && lead != '\t') return line;
    i += length;
  }
  return 0;
}

}  // namespace galleon
