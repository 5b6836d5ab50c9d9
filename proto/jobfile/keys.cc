#include "proto/jobfile/keys.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace galleon {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

namespace {

// "MasterWeights" is "MASTER_WEIGHTS_".
std::string enum_prefix(const EnumDescriptor& type) {
  std::string prefix;
  for (const char c : type.name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + "_";
}

// A decimal number and a unit from a table, as a whole number of the smallest unit.
std::optional<uint64_t> parse_quantity(absl::string_view text,
                                       const std::vector<std::pair<absl::string_view, uint64_t>>& units) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) ++digits;
  const absl::string_view number = text.substr(0, digits);
  const absl::string_view unit = absl::StripLeadingAsciiWhitespace(text.substr(digits));
  uint64_t factor = 0;
  for (const auto& [name, value] : units) {
    if (name == unit) factor = value;
  }
  if (factor == 0) return std::nullopt;
  uint64_t whole = 0;
  if (absl::SimpleAtoi(number, &whole)) {
    if (whole > UINT64_MAX / factor) return std::nullopt;
    return whole * factor;
  }
  double decimal = 0;
  if (!absl::SimpleAtod(number, &decimal)) return std::nullopt;
  const double product = decimal * static_cast<double>(factor);
  if (!(product < 9e15) || product != std::floor(product)) return std::nullopt;
  return static_cast<uint64_t>(product);
}

size_t edit_distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

const v1::KeyOptions& key_options(const FieldDescriptor& field) {
  return field.options().GetExtension(v1::key);
}

const FieldDescriptor* weights_of(const FieldDescriptor& list) {
  return list.containing_type()->FindFieldByName(key_options(list).weights());
}

std::vector<const FieldDescriptor*> keys_of(const Descriptor& message) {
  std::vector<const FieldDescriptor*> keys;
  for (int i = 0; i < message.field_count(); ++i) {
    if (!key_options(*message.field(i)).internal()) keys.push_back(message.field(i));
  }
  return keys;
}

std::string enum_word(const EnumValueDescriptor& value) {
  const std::string prefix = enum_prefix(*value.type());
  const absl::string_view name = value.name();
  return absl::AsciiStrToLower(absl::StartsWith(name, prefix) ? name.substr(prefix.size()) : name);
}

std::vector<std::string> enum_words(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(enum_word(*type.value(i)));
  }
  return words;
}

const EnumValueDescriptor* find_enum_word(const EnumDescriptor& type, absl::string_view word) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 && word == enum_word(*type.value(i))) return type.value(i);
  }
  return nullptr;
}

std::string accepted_values(const FieldDescriptor& field) {
  const v1::KeyOptions& options = key_options(field);
  if (field.is_map()) return "a mapping";
  std::string accepted;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM:
      accepted = absl::StrCat("one of ", absl::StrJoin(enum_words(*field.enum_type()), ", "));
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      accepted = "true or false";
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      accepted = "a whole number from 0 to 4294967295";
      break;
    case FieldDescriptor::CPPTYPE_INT32:
      accepted = "a whole number from -2147483648 to 2147483647";
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      accepted = options.bytes()      ? "a byte count such as 512MiB, 24GiB or 1GB"
                 : options.duration() ? "a duration such as 90s, 15m or 12h"
                                      : "a whole number from 0 to 18446744073709551615";
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      accepted = "a whole number";
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      accepted = "a finite number";
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      accepted = weights_of(field) != nullptr ? "a list of strings, or of {path: …, weight: …}"
                 : field.is_repeated()        ? "a list of strings"
                                              : "a string";
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      accepted = "a mapping";
      break;
  }
  const bool nullable = !field.is_repeated() && options.default_value().empty() && !options.required() &&
                        (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || absent_by_default(field));
  return nullable ? accepted + ", or null" : accepted;
}

bool absent_by_default(const FieldDescriptor& field) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field.is_repeated() || key_options(field).required()) {
    return false;
  }
  for (const FieldDescriptor* inner : keys_of(*field.message_type())) {
    if (key_options(*inner).required()) return true;
  }
  return false;
}

std::optional<uint64_t> parse_bytes(absl::string_view text) {
  return parse_quantity(text, {{"", 1},
                               {"B", 1},
                               {"KB", 1000},
                               {"kB", 1000},
                               {"MB", 1000000},
                               {"GB", 1000000000},
                               {"TB", 1000000000000},
                               {"KiB", 1ull << 10},
                               {"MiB", 1ull << 20},
                               {"GiB", 1ull << 30},
                               {"TiB", 1ull << 40}});
}

std::optional<uint64_t> parse_duration(absl::string_view text) {
  return parse_quantity(text, {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}});
}

std::string nearest_word(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string normal = absl::AsciiStrToLower(word);
  std::replace(normal.begin(), normal.end(), '-', '_');
  std::string best;
  size_t best_distance = std::max<size_t>(1, std::min<size_t>(3, normal.size() / 3)) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(normal, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace galleon
