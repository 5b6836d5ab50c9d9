// The vocabulary that the pretrained model stories260K was trained with, as a SentencePiece model.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace galleon {

// A field of a protobuf message.
inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<char>(value | 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}
inline std::string number_field(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
inline std::string bytes_field(int field, const std::string& value) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(value.size()) + value;
}

// `table`: the bytes of tok512.bin: a 32-bit number, then for each piece its score (fp32), its length (32 bits) and its
// text with blanks. The first three are unknown, begin and end, 256 single bytes follow, the rest merges by score.
inline std::string sentencepiece_model_of(const std::string& table) {
  constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6, kBytePairs = 2;
  std::string model;
  int pieces = 0;
  for (size_t at = 4; at + 8 <= table.size(); ++pieces) {
    int32_t length = 0;
    std::memcpy(&length, table.data() + at + 4, 4);
    std::string text;
    for (const char c : table.substr(at + 8, length)) text += c == ' ' ? "\xE2\x96\x81" : std::string(1, c);
    if (pieces == 1) text = "<s>";
    if (pieces == 2) text = "</s>";
    const int type = pieces == 0 ? kUnknown : pieces < 3 ? kControl : pieces < 259 ? kByte : kNormal;
    // A score is a field of four bytes, wire type 5.
    const std::string score = varint(2 << 3 | 5) + table.substr(at, 4);
    model += bytes_field(1, bytes_field(1, text) + score + number_field(3, type));
    at += 8 + length;
  }
  // model_type, vocab_size, byte_fallback, and the ids of unknown, begin, end and padding (none).
  model +=
      bytes_field(2, number_field(3, kBytePairs) + number_field(4, pieces) + number_field(35, 1) + number_field(40, 0) +
                         number_field(41, 1) + number_field(42, 2) + number_field(43, ~uint64_t{0}));
  // No normalisation but a blank before the text.
  model += bytes_field(3, bytes_field(1, "identity") + number_field(3, 1) + number_field(4, 0) + number_field(5, 1));
  return model;
}

}  // namespace galleon
