// What this version implements of the job file. A value of the contract that is not in this table is refused by name,
// never ignored; implementing it means adding its word here.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "proto/jobfile/issues.h"
#include "proto/jobfile/keys.h"

namespace galleon {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

struct Supported {
  const char* key;
  // Words or numbers that are available; empty: the key must be null.
  std::vector<std::string> values;
};

const std::vector<Supported>& supported_values() {
  static const std::vector<Supported> table = {
      {"training.precision", {"fp32", "bf16"}},
      {"training.master_weights", {"none", "fp32"}},
      {"training.accumulate_type", {"fp32", "bf16"}},
      {"training.recompute", {"none", "block"}},
      {"parallel.zero", {"1", "2", "3"}},
      {"parallel.wire_type", {"auto", "fp32", "bf16"}},
  };
  return table;
}

// The value of a set, singular field as the job file writes it.
std::string value_word(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      return enum_word(*reflection.GetEnum(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    default:
      return "a value";
  }
}

void check_key(const v1::Job& job, const Supported& row, JobIssues& issues) {
  const Message* message = &job;
  const std::vector<std::string> names = absl::StrSplit(row.key, '.');
  for (size_t i = 0; i < names.size(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(names[i]);
    if (!message->GetReflection()->HasField(*message, field)) return;
    if (i + 1 < names.size()) {
      message = &message->GetReflection()->GetMessage(*message, field);
      continue;
    }
    const std::string word = value_word(*message, *field);
    if (std::find(row.values.begin(), row.values.end(), word) != row.values.end()) return;
    issues.push_back({row.key, absl::StrCat(word, " is not available in this version; available: ",
                                            row.values.empty() ? "null" : absl::StrJoin(row.values, ", "))});
  }
}

}  // namespace

void find_unsupported(const v1::Job& job, JobIssues& issues) {
  for (const Supported& row : supported_values()) check_key(job, row, issues);
}

}  // namespace galleon
