// Values of enumerations that this version does not know. A job file cannot hold one, since words are looked up there;
// a client of a later version can send its number.
#include "absl/strings/str_cat.h"
#include "proto/jobfile/issues.h"
#include "proto/jobfile/keys.h"

namespace galleon {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

void walk(const Message& message, const std::string& prefix, JobIssues& issues) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_repeated()) continue;
    const std::string key = absl::StrCat(prefix, field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      walk(message.GetReflection()->GetMessage(message, field), key + ".", issues);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      const int number = message.GetReflection()->GetEnumValue(message, field);
      const auto* value = field->enum_type()->FindValueByNumber(number);
      if (value == nullptr || enum_word(*value).empty())
        issues.push_back({key, absl::StrCat("value ", number, " is not accepted; ", accepted_values(*field))});
    }
  }
}

}  // namespace

void find_unknown_values(const v1::Job& job, JobIssues& issues) {
  walk(job, "", issues);
}

}  // namespace galleon
