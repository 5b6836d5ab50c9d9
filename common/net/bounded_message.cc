#include "common/net/bounded_message.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/base/bounded_text.h"

namespace galleon {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMostElements = 4096;

// Bytes mean nothing to people, and nothing at all when a part of them is gone.
std::string bounded(const FieldDescriptor& field, const std::string& value, size_t longest) {
  if (value.size() <= longest && field.type() == FieldDescriptor::TYPE_BYTES) return value;
  return field.type() == FieldDescriptor::TYPE_BYTES ? "" : bounded_text(value, longest);
}

void bound(Message& message, size_t longest, int most) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const bool text = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    const bool nested = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field->is_repeated()) {
      while (reflection.FieldSize(message, field) > most) reflection.RemoveLast(&message, field);
      const int size = reflection.FieldSize(message, field);
      for (int i = 0; i < size; ++i) {
        if (text) {
          const std::string value = reflection.GetRepeatedString(message, field, i);
          if (value.size() > longest) reflection.SetRepeatedString(&message, field, i, bounded(*field, value, longest));
        } else if (nested) {
          bound(*reflection.MutableRepeatedMessage(&message, field, i), longest, most);
        }
      }
    } else if (text) {
      const std::string value = reflection.GetString(message, field);
      if (value.size() > longest) reflection.SetString(&message, field, bounded(*field, value, longest));
    } else if (nested) {
      bound(*reflection.MutableMessage(&message, field), longest, most);
    }
  }
}

}  // namespace

void bound_texts(Message& message, size_t longest) {
  bound(message, longest, kMostElements);
}

void shrink_message(Message& message, size_t bytes) {
  bound(message, kLongestText, kMostElements);
  int most = kMostElements;
  for (size_t longest = kLongestText; message.ByteSizeLong() > bytes && longest > 128;) {
    longest /= 2;
    most = std::max(64, most / 4);
    bound(message, longest, most);
  }
}

}  // namespace galleon
