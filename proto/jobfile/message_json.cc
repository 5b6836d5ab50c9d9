#include "proto/jobfile/message_json.h"

#include <google/protobuf/util/json_util.h>

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "galleon/v1/job.pb.h"
#include "proto/jobfile/keys.h"

namespace galleon {

namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

void sort_keys(Json& object) {
  std::map<std::string, Json> sorted;
  for (const auto& [key, value] : object.items()) sorted[key] = value;
  object = Json::object();
  for (auto& [key, value] : sorted) object[key] = std::move(value);
}

void tidy(Json& object, const Descriptor& type);

void tidy_value(Json& value, const FieldDescriptor& field) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && value.is_object())
    return tidy(value, *field.message_type());
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM || !value.is_string()) return;
  // The job file's enumerations have its words; what is not set has none.
  if (field.enum_type()->file() != v1::Job::descriptor()->file()) return;
  const auto* known = field.enum_type()->FindValueByName(value.get<std::string>());
  if (known == nullptr) return;
  value = known->number() == 0 ? Json(nullptr) : Json(enum_word(*known));
}

// Keys of maps in the order of the alphabet, which protobuf leaves open, and words as the job file has them.
void tidy(Json& object, const Descriptor& type) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const auto it = object.find(field.name());
    if (it == object.end()) continue;
    if (field.is_map()) {
      sort_keys(*it);
    } else if (field.is_repeated()) {
      for (Json& element : *it) tidy_value(element, field);
    } else {
      tidy_value(*it, field);
    }
  }
}

// JSON escapes the control characters of ASCII; the rest of what a terminal obeys is escaped here.
std::string escaped(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    const auto byte = static_cast<unsigned char>(json[i]);
    const auto next = i + 1 < json.size() ? static_cast<unsigned char>(json[i + 1]) : 0U;
    if (byte == 0x7f) {
      out += "\\u007f";
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      absl::StrAppendFormat(&out, "\\u%04x", next);
      ++i;
    } else {
      out += json[i];
    }
  }
  return out;
}

}  // namespace

std::string message_json(const google::protobuf::Message& message, int indent, bool every_field) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = every_field;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return text;
  tidy(json, *message.GetDescriptor());
  return escaped(json.dump(indent, ' ', false, Json::error_handler_t::replace));
}

}  // namespace galleon
