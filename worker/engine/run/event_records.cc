#include "worker/engine/run/event_records.h"

#include <array>
#include <bit>

namespace galleon {

namespace {

constexpr char kSessionStart[] = "_hparams_/session_start_info";
constexpr char kSessionEnd[] = "_hparams_/session_end_info";

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
    table[i] = value;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

std::string masked_crc(absl::string_view bytes) {
  return little_endian(std::rotr(crc32c(bytes), 15) + 0xa282ead8U, 4);
}

// A message in protobuf's wire format, field by field.
class Wire {
 public:
  Wire& number(int field, uint64_t value) {
    varint(static_cast<uint64_t>(field) << 3);
    varint(value);
    return *this;
  }
  Wire& real(int field, double value) {
    varint(static_cast<uint64_t>(field) << 3 | 1);
    bytes_ += little_endian(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  Wire& real32(int field, float value) {
    varint(static_cast<uint64_t>(field) << 3 | 5);
    bytes_ += little_endian(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  Wire& text(int field, absl::string_view value) {
    varint(static_cast<uint64_t>(field) << 3 | 2);
    varint(value.size());
    bytes_.append(value.data(), value.size());
    return *this;
  }
  Wire& message(int field, const Wire& value) { return text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

Wire event(double wall_time, int64_t step) {
  Wire event;
  event.real(1, wall_time);
  if (step > 0) event.number(2, static_cast<uint64_t>(step));
  return event;
}

// An event whose summary holds one message of the plug-in, HParamsPluginData. Its tensor is empty, as the plug-in's
// own.
std::string hparams_event(double wall_time, absl::string_view tag, const Wire& data) {
  const Wire plugin = Wire().text(1, "hparams").message(2, data);
  const Wire metadata = Wire().message(1, plugin).number(4, 2);                   // of tensors
  const Wire tensor = Wire().number(1, 1).message(2, Wire().message(2, Wire()));  // float, of shape [0]
  const Wire value = Wire().text(1, tag).message(8, tensor).message(9, metadata);
  return event(wall_time, 0).message(5, Wire().message(1, value)).bytes();
}

// google.protobuf.Value.
Wire json_value(const HyperparameterValue& value) {
  Wire wire;
  if (const double* number = std::get_if<double>(&value)) {
    wire.real(2, *number);
  } else if (const bool* flag = std::get_if<bool>(&value)) {
    wire.number(4, *flag ? 1 : 0);
  } else {
    wire.text(3, std::get<std::string>(value));
  }
  return wire;
}

}  // namespace

uint32_t crc32c(absl::string_view bytes) {
  uint32_t crc = 0xffffffffU;
  for (const char c : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xffU];
  return ~crc;
}

std::string framed_record(absl::string_view bytes) {
  const std::string length = little_endian(bytes.size(), 8);
  return length + masked_crc(length) + std::string(bytes) + masked_crc(bytes);
}

std::string first_event(double wall_time) {
  return Wire().real(1, wall_time).text(3, "brain.Event:2").bytes();
}

std::string start_event(double wall_time, int64_t step) {
  return event(wall_time, step).message(7, Wire().number(1, 1)).bytes();
}

std::string scalars_event(double wall_time, int64_t step, const Scalars& scalars) {
  Wire summary;
  for (const auto& [tag, value] : scalars) summary.message(1, Wire().text(1, tag).real32(2, static_cast<float>(value)));
  return event(wall_time, step).message(5, summary).bytes();
}

std::string hyperparameters_event(double wall_time, const std::vector<Hyperparameter>& hyperparameters) {
  Wire session;
  for (const auto& [key, value] : hyperparameters)
    session.message(1, Wire().text(1, key).message(2, json_value(value)));
  session.real(5, wall_time);
  return hparams_event(wall_time, kSessionStart, Wire().message(3, session));
}

std::string finished_event(double wall_time) {
  return hparams_event(wall_time, kSessionEnd, Wire().message(4, Wire().number(1, 1).real(2, wall_time)));
}

}  // namespace galleon
