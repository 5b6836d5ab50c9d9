// Changes of any message, for targets that look behind the parsers of protobuf.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace galleon {

class MessageChange {
 public:
  using Field = google::protobuf::FieldDescriptor;
  using Message = google::protobuf::Message;

  MessageChange(uint8_t kind, uint8_t value, const std::vector<std::string>& words)
      : kind_(kind), value_(value), words_(words) {}

  void apply(Message& message, const Field* field) const {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (kind_ % 16 == 15) return reflection.ClearField(&message, field);
    if (field->is_repeated()) return apply_to_repeated(message, field);
    switch (field->cpp_type()) {
      case Field::CPPTYPE_INT32:
        return reflection.SetInt32(&message, field, static_cast<int32_t>(number()));
      case Field::CPPTYPE_INT64:
        return reflection.SetInt64(&message, field, static_cast<int64_t>(number()));
      case Field::CPPTYPE_UINT32:
        return reflection.SetUInt32(&message, field, static_cast<uint32_t>(number()));
      case Field::CPPTYPE_UINT64:
        return reflection.SetUInt64(&message, field, number());
      case Field::CPPTYPE_DOUBLE:
        return reflection.SetDouble(&message, field, fraction());
      case Field::CPPTYPE_FLOAT:
        return reflection.SetFloat(&message, field, static_cast<float>(fraction()));
      case Field::CPPTYPE_BOOL:
        return reflection.SetBool(&message, field, value_ % 2 == 1);
      case Field::CPPTYPE_ENUM:
        return reflection.SetEnumValue(&message, field, value_ < 32 ? value_ : static_cast<int>(number()));
      case Field::CPPTYPE_STRING:
        return reflection.SetString(&message, field, text());
      case Field::CPPTYPE_MESSAGE:
        reflection.MutableMessage(&message, field);
    }
  }

 private:
  // An element more, or one less.
  void apply_to_repeated(Message& message, const Field* field) const {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (kind_ % 4 == 0) {
      if (reflection.FieldSize(message, field) > 0) reflection.RemoveLast(&message, field);
    } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE) {
      reflection.AddMessage(&message, field);
    } else if (field->cpp_type() == Field::CPPTYPE_STRING) {
      reflection.AddString(&message, field, text());
    } else if (field->cpp_type() == Field::CPPTYPE_ENUM) {
      reflection.AddEnumValue(&message, field, value_);
    } else if (field->cpp_type() == Field::CPPTYPE_UINT32) {
      reflection.AddUInt32(&message, field, static_cast<uint32_t>(number()));
    } else if (field->cpp_type() == Field::CPPTYPE_UINT64) {
      reflection.AddUInt64(&message, field, number());
    }
  }

  uint64_t number() const {
    switch (kind_ % 4) {
      case 0:
        return value_;
      case 1:
        return uint64_t{1} << (value_ & 63);
      case 2:
        return (uint64_t{1} << (value_ & 63)) - 1;
      default:
        return ~uint64_t{0} - value_;
    }
  }

  double fraction() const {
    constexpr double kSpecial[] = {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(),
                                   std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(), -1};
    if (kind_ % 4 == 0) return kSpecial[value_ % 5];
    return value_ * (kind_ % 4 == 1 ? 1e-3 : kind_ % 4 == 2 ? 1 : 1e30);
  }

  // A word that means something here, any short one, or a long one.
  std::string text() const {
    if (kind_ % 4 != 0) return words_[value_ % words_.size()];
    if (kind_ == 0) return std::string(size_t{1000} * value_, 'x');
    return std::string(value_ % 64, static_cast<char>(kind_ % 128));
  }

  const uint8_t kind_;
  const uint8_t value_;
  const std::vector<std::string>& words_;
};

// Every field that there is to change: of the message, of those that it holds, and of the first few of those that it
// repeats.
inline void list_fields(google::protobuf::Message& message,
                        std::vector<std::pair<google::protobuf::Message*, const MessageChange::Field*>>& all) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const MessageChange::Field* field = message.GetDescriptor()->field(i);
    all.emplace_back(&message, field);
    if (field->cpp_type() != MessageChange::Field::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (reflection.HasField(message, field)) list_fields(*reflection.MutableMessage(&message, field), all);
    } else if (!field->is_map()) {
      for (int k = 0; k < std::min(3, reflection.FieldSize(message, field)); ++k)
        list_fields(*reflection.MutableRepeatedMessage(&message, field, k), all);
    }
  }
}

// One change by four bytes: which field (2), and what it becomes (2). `words`: texts that mean something; one at least.
inline void change_message(google::protobuf::Message& message, const uint8_t* bytes,
                           const std::vector<std::string>& words) {
  std::vector<std::pair<google::protobuf::Message*, const MessageChange::Field*>> all;
  list_fields(message, all);
  if (all.empty()) return;
  const auto& [holder, field] = all[(bytes[0] << 8 | bytes[1]) % all.size()];
  MessageChange(bytes[2], bytes[3], words).apply(*holder, field);
}

}  // namespace galleon
