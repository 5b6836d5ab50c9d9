#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/chat/template_values.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

using Value = TemplateValue;
using Arguments = TemplateArguments;

// Python's str.strip(): what is taken from both ends is white space, or any of some characters.
std::string stripped(const std::string& text, const Value& characters, bool left, bool right) {
  std::vector<int32_t> code_points;
  std::vector<size_t> places;
  const std::string sound = valid_utf8(text);
  for (size_t at = 0; at < sound.size();) {
    places.push_back(at);
    code_points.push_back(next_code_point(sound, at));
  }
  places.push_back(sound.size());
  std::vector<int32_t> taken;
  const std::string set = characters.is_string() ? characters.get<std::string>() : "";
  for (size_t at = 0; at < set.size();) taken.push_back(next_code_point(set, at));
  const auto goes = [&](int32_t c) {
    if (characters.is_string()) return std::find(taken.begin(), taken.end(), c) != taken.end();
    return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
  };
  size_t begin = 0;
  size_t end = code_points.size();
  while (left && begin < end && goes(code_points[begin])) ++begin;
  while (right && end > begin && goes(code_points[end - 1])) --end;
  return sound.substr(places[begin], places[end] - places[begin]);
}

std::string capitalized(const std::string& text) {
  std::string all = absl::AsciiStrToLower(text);
  if (!all.empty()) all[0] = absl::ascii_toupper(static_cast<unsigned char>(all[0]));
  return all;
}

std::string titled(const std::string& text) {
  std::string all = absl::AsciiStrToLower(text);
  bool inside = false;
  for (char& c : all) {
    if (!inside) c = absl::ascii_toupper(static_cast<unsigned char>(c));
    inside = absl::ascii_isalpha(static_cast<unsigned char>(c));
  }
  return all;
}

Value split(const std::string& text, const Value& separator, int64_t most) {
  Value parts = Value::array();
  absl::string_view rest = text;
  if (!separator.is_string() || separator.get_ref<const std::string&>().empty()) {
    rest = absl::StripAsciiWhitespace(rest);
    while (!rest.empty()) {
      const size_t end = most == 0 ? rest.size() : std::min(rest.find_first_of(" \t\n\r\f\v"), rest.size());
      parts.push_back(std::string(rest.substr(0, end)));
      rest = absl::StripLeadingAsciiWhitespace(rest.substr(end));
      --most;
    }
    return parts;
  }
  const auto& mark = separator.get_ref<const std::string&>();
  for (; most != 0; --most) {
    const size_t end = rest.find(mark);
    if (end == absl::string_view::npos) break;
    parts.push_back(std::string(rest.substr(0, end)));
    rest.remove_prefix(end + mark.size());
  }
  parts.push_back(std::string(rest));
  return parts;
}

Value items(const Value& map) {
  Value all = Value::array();
  for (auto it = map.begin(); it != map.end(); ++it) all.push_back(Value::array({it.key(), *it}));
  return all;
}

// Jinja's dictsort(case_sensitive, by, reverse): a map's items by their keys.
absl::StatusOr<Value> sorted_items(const Value& map, const Arguments& arguments) {
  if (!map.is_object()) return absl::InvalidArgumentError("dictsort needs a map");
  if (const Value by = arguments.get(1, "by"); !by.is_discarded() && by != "key")
    return absl::UnimplementedError("dictsort by anything but the key is not known");
  const bool exact = is_true(arguments.get(0, "case_sensitive"));
  std::vector<std::pair<std::string, Value>> all;
  for (auto it = map.begin(); it != map.end(); ++it)
    all.emplace_back(exact ? it.key() : lower_case(it.key()), Value::array({it.key(), *it}));
  const bool reverse = is_true(arguments.get(2, "reverse"));
  std::stable_sort(all.begin(), all.end(),
                   [&](const auto& a, const auto& b) { return reverse ? b.first < a.first : a.first < b.first; });
  Value list = Value::array();
  for (auto& [key, pair] : all) list.push_back(std::move(pair));
  return list;
}

absl::StatusOr<Value> joined(const Value& subject, const std::string& separator) {
  ASSIGN_OR_RETURN(std::vector<Value> all, members_of(subject));
  std::string text;
  for (size_t i = 0; i < all.size(); ++i) absl::StrAppend(&text, i > 0 ? separator : "", text_of(all[i]));
  return Value(text);
}

// select, reject (by a test of the member) and selectattr, rejectattr (of an attribute of it).
absl::StatusOr<Value> selected(const std::string& name, const Value& subject, const Arguments& arguments) {
  const bool by_attribute = absl::EndsWith(name, "attr");
  const bool keeps = absl::StartsWith(name, "select");
  ASSIGN_OR_RETURN(std::vector<Value> all, members_of(subject));
  const size_t first = by_attribute ? 1 : 0;
  Arguments rest;
  for (size_t i = first + 1; i < arguments.values.size(); ++i) rest.values.push_back(arguments.values[i]);
  Value kept = Value::array();
  for (const Value& one : all) {
    const Value tested = by_attribute ? member(one, arguments.get(0, "attribute")) : one;
    absl::StatusOr<bool> holds = is_true(tested);
    if (arguments.values.size() > first) holds = apply_test(text_of(arguments.values[first]), tested, rest);
    if (!holds.ok()) return holds.status();
    if (*holds == keeps) kept.push_back(one);
  }
  return kept;
}

absl::StatusOr<Value> mapped(const Value& subject, const Arguments& arguments) {
  ASSIGN_OR_RETURN(std::vector<Value> all, members_of(subject));
  const Value attribute = arguments.values.empty() ? arguments.get(0, "attribute") : undefined_value();
  Arguments rest;
  for (size_t i = 1; i < arguments.values.size(); ++i) rest.values.push_back(arguments.values[i]);
  Value result = Value::array();
  for (const Value& one : all) {
    if (!attribute.is_discarded()) {
      result.push_back(member(one, attribute));
      continue;
    }
    ASSIGN_OR_RETURN(Value made, apply_filter(text_of(arguments.get(0, "")), one, rest));
    result.push_back(made);
  }
  return result;
}

int64_t whole_number(const Value& value, int64_t otherwise) {
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_number_float() && std::abs(value.get<double>()) < 0x1.0p53)
    return static_cast<int64_t>(value.get<double>());
  int64_t number = 0;
  return value.is_string() && absl::SimpleAtoi(value.get_ref<const std::string&>(), &number) ? number : otherwise;
}

// transformers' tojson(ensure_ascii, indent, separators, sort_keys).
absl::StatusOr<Value> to_json(const Value& subject, const Arguments& arguments) {
  if (subject.is_discarded())
    return absl::InvalidArgumentError("tojson has nothing to write: the value is not defined");
  for (const auto& [key, value] : arguments.named) {
    if (key != "ensure_ascii" && key != "indent" && key != "separators" && key != "sort_keys")
      return absl::InvalidArgumentError(absl::StrCat("tojson has no argument ", key));
  }
  JsonStyle style;
  style.ensure_ascii = is_true(arguments.get(0, "ensure_ascii"));
  style.indent = static_cast<int>(std::clamp<int64_t>(whole_number(arguments.get(1, "indent"), -1), -1, 64));
  style.sort_keys = is_true(arguments.get(3, "sort_keys"));
  const Value separators = arguments.get(2, "separators");
  if (separators.is_array() && separators.size() == 2 && separators[0].is_string() && separators[1].is_string()) {
    style.item_separator = separators[0].get<std::string>();
    style.key_separator = separators[1].get<std::string>();
  } else if (!separators.is_discarded() && !separators.is_null()) {
    return absl::InvalidArgumentError("tojson's separators are no two texts");
  }
  return Value(json_text_of(subject, style));
}

std::string indented(const std::string& text, const Arguments& arguments) {
  const Value width = arguments.get(0, "width");
  const std::string space(static_cast<size_t>(std::clamp<int64_t>(whole_number(width, 4), 0, 256)), ' ');
  std::string all;
  size_t begin = 0;
  for (int64_t number = 0; begin <= text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const bool first = number == 0;
    if ((!first || is_true(arguments.get(1, "first"))) && (end > begin || is_true(arguments.get(2, "blank"))))
      all += space;
    all += text.substr(begin, end - begin + 1);
    begin = end + 1;
  }
  return all;
}

}  // namespace

absl::StatusOr<Value> apply_filter(const std::string& name, const Value& subject, const Arguments& arguments) {
  const std::string text = subject.is_string() ? subject.get<std::string>() : text_of(subject);
  if (name == "trim") return Value(stripped(text, arguments.get(0, "chars"), true, true));
  if (name == "upper") return Value(absl::AsciiStrToUpper(text));
  if (name == "lower") return Value(lower_case(text));
  if (name == "capitalize") return Value(capitalized(text));
  if (name == "title") return Value(titled(text));
  if (name == "string" || name == "safe") return Value(text);
  if (name == "length" || name == "count") return Value(length_of(subject));
  if (name == "default" || name == "d") {
    const bool missing = subject.is_discarded() || (is_true(arguments.get(1, "boolean")) && !is_true(subject));
    const Value other = arguments.get(0, "default_value");
    return missing ? (other.is_discarded() ? Value("") : other) : subject;
  }
  if (name == "tojson") return to_json(subject, arguments);
  if (name == "replace") {
    const std::string from = text_of(arguments.get(0, "old"));
    if (from.empty()) return absl::InvalidArgumentError("replace needs a text to be replaced");
    return Value(absl::StrReplaceAll(text, {{from, text_of(arguments.get(1, "new"))}}));
  }
  if (name == "join") return joined(subject, text_of(arguments.get(0, "d")));
  if (name == "items") {
    if (subject.is_discarded()) return Value::array();
    if (!subject.is_object()) return absl::InvalidArgumentError("items needs a map");
    return items(subject);
  }
  if (name == "dictsort") return sorted_items(subject, arguments);
  if (name == "int") return Value(whole_number(subject, whole_number(arguments.get(0, "default"), 0)));
  if (name == "abs" && subject.is_number_integer()) return Value(std::abs(subject.get<int64_t>()));
  if (name == "indent") return Value(indented(text, arguments));
  if (name == "map") return mapped(subject, arguments);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return selected(name, subject, arguments);
  if (name == "first" || name == "last") return member(subject, Value(name == "first" ? 0 : -1));
  if (name == "list") {
    ASSIGN_OR_RETURN(std::vector<Value> all, members_of(subject));
    return Value(all);
  }
  if (name == "reverse") return slice(subject, nullptr, nullptr, Value(-1));
  if (name == "unique") {
    ASSIGN_OR_RETURN(std::vector<Value> all, members_of(subject));
    Value kept = Value::array();
    for (const Value& one : all) {
      if (std::find(kept.begin(), kept.end(), one) == kept.end()) kept.push_back(one);
    }
    return kept;
  }
  return absl::UnimplementedError(absl::StrCat("the filter ", name, " is not known"));
}

absl::StatusOr<bool> apply_test(const std::string& name, const Value& subject, const Arguments& arguments) {
  const Value other = arguments.get(0, "");
  if (name == "defined") return !subject.is_discarded();
  if (name == "undefined") return subject.is_discarded();
  if (name == "none") return subject.is_null();
  if (name == "string") return subject.is_string();
  if (name == "mapping") return subject.is_object();
  if (name == "number") return subject.is_number() || subject.is_boolean();
  if (name == "integer") return subject.is_number_integer();
  if (name == "float") return subject.is_number_float();
  if (name == "boolean") return subject.is_boolean();
  if (name == "true") return subject.is_boolean() && subject.get<bool>();
  if (name == "false") return subject.is_boolean() && !subject.get<bool>();
  // Jinja goes through an undefined value as through an empty list.
  if (name == "iterable" || name == "sequence")
    return subject.is_structured() || subject.is_string() || subject.is_discarded();
  if (name == "odd" || name == "even") {
    if (!subject.is_number_integer()) return absl::InvalidArgumentError(absl::StrCat(name, " needs a whole number"));
    return (subject.get<int64_t>() % 2 != 0) == (name == "odd");
  }
  if (name == "divisibleby") {
    if (!subject.is_number_integer() || !other.is_number_integer() || other.get<int64_t>() == 0)
      return absl::InvalidArgumentError("divisibleby needs two whole numbers, the second of which is not 0");
    return subject.get<int64_t>() % other.get<int64_t>() == 0;
  }
  for (const auto& [word, symbol] : {std::pair("eq", "=="), std::pair("equalto", "=="), std::pair("ne", "!="),
                                     std::pair("lt", "<"), std::pair("gt", ">"), std::pair("in", "in")}) {
    if (name != word) continue;
    ASSIGN_OR_RETURN(Value holds, apply_operator(symbol, subject, other));
    return is_true(holds);
  }
  return absl::UnimplementedError(absl::StrCat("the test ", name, " is not known"));
}

absl::StatusOr<Value> call_method(const std::string& name, const Value& subject, const Arguments& arguments) {
  const Value first = arguments.get(0, "");
  if (subject.is_string()) {
    const auto& text = subject.get_ref<const std::string&>();
    if (name == "strip" || name == "lstrip" || name == "rstrip")
      return Value(stripped(text, first, name != "rstrip", name != "lstrip"));
    if (name == "split") return split(text, arguments.get(0, "sep"), whole_number(arguments.get(1, "maxsplit"), -1));
    if (name == "startswith") return Value(first.is_string() && absl::StartsWith(text, first.get<std::string>()));
    if (name == "endswith") return Value(first.is_string() && absl::EndsWith(text, first.get<std::string>()));
    if (name == "join") return joined(first, text);
    if (name == "find") {
      const size_t place = text.find(text_of(first));
      return Value(place == std::string::npos ? int64_t{-1} : length_of(Value(text.substr(0, place))));
    }
    for (const char* same : {"upper", "lower", "title", "capitalize", "replace"}) {
      if (name == same) return apply_filter(name, subject, arguments);
    }
  }
  if (subject.is_object()) {
    if (name == "items") return items(subject);
    if (name == "get") {
      const Value found = member(subject, first);
      const Value other = arguments.get(1, "default");
      return !found.is_discarded() ? found : other.is_discarded() ? Value(nullptr) : other;
    }
    if (name == "keys" || name == "values") {
      Value all = Value::array();
      for (auto it = subject.begin(); it != subject.end(); ++it) all.push_back(name == "keys" ? Value(it.key()) : *it);
      return all;
    }
  }
  return absl::UnimplementedError(absl::StrCat(
      "the method ", name, " of a ", subject.is_discarded() ? "undefined" : subject.type_name(), " is not known"));
}

}  // namespace galleon
