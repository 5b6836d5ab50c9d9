#include "worker/engine/run/hyperparameters.h"

#include <charconv>
#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace galleon {

namespace {

// Beyond it not every whole number is a double: such a one, a seed say, is given as its digits.
constexpr uint64_t kLargestExact = 1ULL << 53;

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// "RULE_ADAMW" of the kind "Rule", as a job file writes it: "adamw". The kind's own name has words: "LastBatch".
std::string enum_value(const google::protobuf::EnumValueDescriptor& value) {
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (absl::ascii_isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(static_cast<unsigned char>(c));
  }
  return absl::AsciiStrToLower(absl::StripPrefix(value.name(), prefix + "_"));
}

HyperparameterValue value_of(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return enum_value(*reflection.GetEnum(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_INT32:
      return static_cast<double>(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return static_cast<double>(reflection.GetUInt32(message, &field));
    default: {
      const uint64_t value = reflection.GetUInt64(message, &field);
      if (value > kLargestExact) return absl::StrCat(value);
      return static_cast<double>(value);
    }
  }
}

void append(const Message& message, const std::string& prefix, std::vector<Hyperparameter>& out) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const v1::KeyOptions& key = field.options().GetExtension(v1::key);
    if (field.is_repeated() || key.internal() || !message.GetReflection()->HasField(message, &field)) continue;
    const std::string path = prefix + field.name();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      append(message.GetReflection()->GetMessage(message, &field), path + ".", out);
    } else {
      out.emplace_back(path, value_of(message, field));
    }
  }
}

}  // namespace

std::vector<Hyperparameter> hyperparameters_of(const v1::Job& job) {
  v1::Job choices = job;
  // Where a job runs and what it leaves behind bears on no loss.
  choices.clear_name();
  choices.clear_scheduling();
  choices.clear_checkpoint();
  choices.clear_output();
  choices.clear_tracking();
  std::vector<Hyperparameter> out;
  append(choices, "", out);
  const std::map<std::string, std::string> overrides(job.model().overrides().begin(), job.model().overrides().end());
  for (const auto& [field, value] : overrides) out.emplace_back("model.overrides." + field, value);
  return out;
}

std::string hyperparameter_text(const HyperparameterValue& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const std::string* text = std::get_if<std::string>(&value)) return *text;
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof(digits), std::get<double>(value)).ptr;
  return std::string(digits, end);
}

}  // namespace galleon
