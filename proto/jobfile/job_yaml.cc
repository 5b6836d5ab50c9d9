// Writes a job back as a job file, and the reference of its keys.
#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "proto/jobfile/jobfile.h"
#include "proto/jobfile/keys.h"
#include "proto/jobfile/yaml_values.h"

namespace galleon {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

namespace {

// Plain where YAML reads it back as the same string, else quoted.
std::string yaml_string(const std::string& text) {
  bool plain = !text.empty() && (absl::ascii_isalpha(text[0]) || text[0] == '/' || text[0] == '.');
  for (const char c : text) plain &= absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == '/' || c == '+';
  std::string read;
  if (plain && (text == "null" || text == "Null" || text == "NULL" || !read_string(YAML::Node(text), read)))
    plain = false;
  return plain ? text : json_string(text);
}

std::string yaml_number(double value) {
  for (const int digits : {6, 15, 17}) {
    std::string text = absl::StrFormat("%.*g", digits, value);
    double read = 0;
    if (absl::SimpleAtod(text, &read) && read == value) return text;
  }
  return absl::StrFormat("%.17g", value);
}

std::string yaml_scalar(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return enum_word(*reflection.GetEnum(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return yaml_number(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return yaml_string(reflection.GetString(message, &field));
    default:
      return "null";
  }
}

std::string yaml_map(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<std::string> entries;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& pair = reflection.GetRepeatedMessage(message, &field, i);
    const Descriptor& type = *pair.GetDescriptor();
    const std::string value = pair.GetReflection()->GetString(pair, type.map_value());
    entries.push_back(absl::StrCat(json_string(pair.GetReflection()->GetString(pair, type.map_key())), ": ",
                                   field.name() == "overrides" ? value : json_string(value)));
  }
  std::sort(entries.begin(), entries.end());
  return absl::StrCat("{", absl::StrJoin(entries, ", "), "}");
}

void write_message(const Message& message, int indent, std::string& out) {
  const Reflection& reflection = *message.GetReflection();
  for (const FieldDescriptor* field : keys_of(*message.GetDescriptor())) {
    out.append(indent, ' ');
    absl::StrAppend(&out, field->name(), ":");
    if (field->is_map()) {
      absl::StrAppend(&out, " ", yaml_map(message, *field), "\n");
    } else if (field->is_repeated()) {
      std::vector<std::string> items;
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        const std::string text = yaml_string(reflection.GetRepeatedString(message, field, i));
        const FieldDescriptor* weights = weights_of(*field);
        const bool weighted = weights != nullptr && i < reflection.FieldSize(message, weights);
        items.push_back(weighted ? absl::StrCat("{path: ", text, ", weight: ",
                                                yaml_number(reflection.GetRepeatedDouble(message, weights, i)), "}")
                                 : text);
      }
      absl::StrAppend(&out, " [", absl::StrJoin(items, ", "), "]\n");
    } else if (field->has_presence() && !reflection.HasField(message, field)) {
      absl::StrAppend(&out, " null\n");
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      absl::StrAppend(&out, "\n");
      write_message(reflection.GetMessage(message, field), indent + 2, out);
    } else {
      absl::StrAppend(&out, " ", yaml_scalar(message, *field), "\n");
    }
  }
}

std::string type_words(const FieldDescriptor& field) {
  if (field.is_map()) return "mapping";
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) return absl::StrJoin(enum_words(*field.enum_type()), " \\| ");
  if (key_options(field).bytes()) return "bytes";
  if (key_options(field).duration()) return "duration";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true \\| false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return "number";
    case FieldDescriptor::CPPTYPE_STRING:
      if (weights_of(field) != nullptr) return "list of strings or of `{path, weight}`";
      return field.is_repeated() ? "list of strings" : "string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "section";
    default:
      return "whole number";
  }
}

void write_reference(const Descriptor& message, const std::string& parent, std::string& out) {
  for (const FieldDescriptor* field : keys_of(message)) {
    const v1::KeyOptions& options = key_options(*field);
    const std::string key = absl::StrCat(parent, field->name());
    const bool section = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_map();
    std::string value = options.required()                      ? "required"
                        : !options.default_value().empty()      ? absl::StrCat("`", options.default_value(), "`")
                        : field->is_map()                       ? "`{}`"
                        : field->is_repeated()                  ? "`[]`"
                        : section && !absent_by_default(*field) ? ""
                                                                : "`null`";
    const std::string help = absl::StrReplaceAll(options.help(), {{"|", "\\|"}});
    absl::StrAppend(&out, "| `", key, "` | ", type_words(*field), " | ", value, " | ", help, " |\n");
    if (section) write_reference(*field->message_type(), absl::StrCat(key, "."), out);
  }
}

}  // namespace

std::string job_to_yaml(const v1::Job& job) {
  std::string out;
  write_message(job, 0, out);
  return out;
}

std::string job_reference_markdown() {
  std::string out = "| key | accepts | default | meaning |\n|---|---|---|---|\n";
  write_reference(*v1::Job::descriptor(), "", out);
  return out;
}

}  // namespace galleon
