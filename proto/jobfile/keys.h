// Keys of the job file as the descriptors of job.proto define them: words of enums, accepted values, units.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "galleon/v1/job.pb.h"

namespace galleon {

const v1::KeyOptions& key_options(const google::protobuf::FieldDescriptor& field);

// Fields that a job file may set, in the order of their declaration.
std::vector<const google::protobuf::FieldDescriptor*> keys_of(const google::protobuf::Descriptor& message);

// The field of the weights of a list's entries; null: they have none.
const google::protobuf::FieldDescriptor* weights_of(const google::protobuf::FieldDescriptor& list);

// RULE_ADAMW is "adamw". Values named …_UNSPECIFIED have no word.
std::string enum_word(const google::protobuf::EnumValueDescriptor& value);
std::vector<std::string> enum_words(const google::protobuf::EnumDescriptor& type);
const google::protobuf::EnumValueDescriptor* find_enum_word(const google::protobuf::EnumDescriptor& type,
                                                            absl::string_view word);

// What a key accepts, in words: "a whole number from 0 to 4294967295", "true or false", "one of adamw, sgd".
std::string accepted_values(const google::protobuf::FieldDescriptor& field);

// Whether an absent message stays absent: one with a required key inside that is itself not required (galore, lora).
bool absent_by_default(const google::protobuf::FieldDescriptor& field);

// 24GiB, 512MiB, 1GB, 1.5GiB, 4096. nullopt: not a byte count, or beyond 64 bits.
std::optional<uint64_t> parse_bytes(absl::string_view text);
// 90s, 15m, 12h, 2d, 90; in seconds.
std::optional<uint64_t> parse_duration(absl::string_view text);

// The candidate nearest to `word` if it is near enough to be a slip; empty otherwise.
std::string nearest_word(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace galleon
