#include "worker/engine/data/chat/template_values.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/tokenizers/unicode.h"

namespace galleon {
namespace {

using Value = TemplateValue;

std::string float_text(double value) {
  if (std::isfinite(value) && value == std::floor(value) && std::abs(value) < 1e16)
    return absl::StrFormat("%.1f", value);
  return Value(value).dump();
}

std::string quoted(const std::string& text) {
  const char quote = absl::StrContains(text, '\'') && !absl::StrContains(text, '"') ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t' || c == '\r') {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r";
    } else if (byte < 0x20 || byte == 0x7F) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      if (c == '\\' || c == quote) out += '\\';
      out += c;
    }
  }
  return out + quote;
}

std::string representation(const Value& value) {
  if (value.is_string()) return quoted(value.get_ref<const std::string&>());
  return text_of(value);
}

// A list's or map's members between brackets.
template <typename One>
std::string bracketed(const Value& value, const std::string& open, const std::string& close,
                      const std::string& separator, const One& one) {
  std::string text = open;
  bool first = true;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!first) text += separator;
    first = false;
    text += one(it);
  }
  return text + close;
}

std::string json_string(const std::string& text, const JsonStyle& style) {
  return Value(text).dump(-1, ' ', style.ensure_ascii, Value::error_handler_t::replace);
}

void json_to(const Value& value, const JsonStyle& style, int depth, std::string& out) {
  if (!value.is_structured()) {
    out += value.is_discarded()      ? "null"
           : value.is_string()       ? json_string(value.get_ref<const std::string&>(), style)
           : value.is_number_float() ? float_text(value.get<double>())
                                     : value.dump();
    return;
  }
  const bool map = value.is_object();
  if (value.empty()) {
    out += map ? "{}" : "[]";
    return;
  }
  const auto line = [&](int levels) {
    if (style.indent >= 0) absl::StrAppend(&out, "\n", std::string(static_cast<size_t>(style.indent * levels), ' '));
  };
  std::vector<std::pair<std::string, const Value*>> members;
  for (auto it = value.begin(); it != value.end(); ++it) members.emplace_back(map ? it.key() : "", &*it);
  if (map && style.sort_keys)
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  out += map ? "{" : "[";
  bool first = true;
  for (const auto& [key, member] : members) {
    if (!first) out += !style.item_separator.empty() ? style.item_separator : style.indent >= 0 ? "," : ", ";
    first = false;
    line(depth + 1);
    if (map) absl::StrAppend(&out, json_string(key, style), style.key_separator);
    json_to(*member, style, depth + 1, out);
  }
  line(depth);
  out += map ? "}" : "]";
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> all;
  const std::string sound = valid_utf8(text);
  for (size_t at = 0; at < sound.size();) {
    const size_t begin = at;
    next_code_point(sound, at);
    all.push_back(sound.substr(begin, at - begin));
  }
  return all;
}

absl::Status wrong(const std::string& what, const Value& left, const Value& right) {
  const auto type = [](const Value& v) { return v.is_discarded() ? std::string("undefined") : v.type_name(); };
  return absl::InvalidArgumentError(
      absl::StrCat(what, " cannot be used between a ", type(left), " and a ", type(right)));
}

// Python's ordering of numbers, strings and lists.
absl::StatusOr<int> order_of(const std::string& name, const Value& left, const Value& right) {
  const bool numbers = (left.is_number() || left.is_boolean()) && (right.is_number() || right.is_boolean());
  if (numbers) {
    const double a = left.is_boolean() ? left.get<bool>() : left.get<double>();
    const double b = right.is_boolean() ? right.get<bool>() : right.get<double>();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  if (left.type() != right.type() || !(left.is_string() || left.is_array())) return wrong(name, left, right);
  return left < right ? -1 : left == right ? 0 : 1;
}

bool equal(const Value& left, const Value& right) {
  if (left.is_discarded() || right.is_discarded()) return left.is_discarded() && right.is_discarded();
  if (left.is_boolean() != right.is_boolean() && (left.is_number() || right.is_number())) {
    const auto number = [](const Value& v) { return v.is_boolean() ? (v.get<bool>() ? 1.0 : 0.0) : v.get<double>(); };
    return (left.is_number() || left.is_boolean()) && (right.is_number() || right.is_boolean()) &&
           number(left) == number(right);
  }
  return left == right;
}

absl::StatusOr<Value> arithmetic(const std::string& name, const Value& left, const Value& right) {
  if (name == "+" && left.is_string() && right.is_string())
    return Value(left.get<std::string>() + right.get_ref<const std::string&>());
  if (name == "+" && left.is_array() && right.is_array()) {
    Value all = left;
    for (const Value& one : right) all.push_back(one);
    return all;
  }
  if (name == "*" && left.is_string() && right.is_number_integer()) {
    const int64_t times = std::clamp<int64_t>(right.get<int64_t>(), 0, 1 << 16);
    const auto& text = left.get_ref<const std::string&>();
    if (static_cast<int64_t>(text.size()) * times > (1 << 24))
      return absl::InvalidArgumentError("a string becomes too long");
    std::string all;
    for (int64_t i = 0; i < times; ++i) all += text;
    return Value(all);
  }
  if (!left.is_number() || !right.is_number()) return wrong(name, left, right);
  const bool whole = left.is_number_integer() && right.is_number_integer();
  const auto a = left.get<double>();
  const auto b = right.get<double>();
  if ((name == "/" || name == "//" || name == "%") && b == 0) return absl::InvalidArgumentError("division by zero");
  double result = 0;
  if (name == "+") result = a + b;
  if (name == "-") result = a - b;
  if (name == "*") result = a * b;
  if (name == "/") return Value(a / b);
  if (name == "//") result = std::floor(a / b);
  if (name == "%") result = a - b * std::floor(a / b);
  // Templates count messages: doubles hold such numbers exactly.
  if (whole && std::abs(result) < 0x1.0p53) return Value(static_cast<int64_t>(result));
  return Value(result);
}

}  // namespace

Value undefined_value() {
  return Value(Value::value_t::discarded);
}

bool is_true(const Value& value) {
  if (value.is_discarded() || value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

std::string text_of(const Value& value) {
  if (value.is_discarded()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_number_float()) return float_text(value.get<double>());
  if (value.is_array()) return bracketed(value, "[", "]", ", ", [](const auto& it) { return representation(*it); });
  if (value.is_object())
    return bracketed(value, "{", "}", ", ",
                     [](const auto& it) { return absl::StrCat(quoted(it.key()), ": ", representation(*it)); });
  return value.dump();
}

std::string json_text_of(const Value& value, const JsonStyle& style) {
  std::string text;
  json_to(value, style, 0, text);
  return text;
}

int64_t length_of(const Value& value) {
  if (value.is_string()) return static_cast<int64_t>(characters(value.get_ref<const std::string&>()).size());
  return value.is_structured() ? static_cast<int64_t>(value.size()) : 0;
}

absl::StatusOr<std::vector<Value>> members_of(const Value& value) {
  std::vector<Value> all;
  if (value.is_array()) {
    all.assign(value.begin(), value.end());
  } else if (value.is_object()) {
    for (auto it = value.begin(); it != value.end(); ++it) all.emplace_back(it.key());
  } else if (value.is_string()) {
    for (std::string& one : characters(value.get_ref<const std::string&>())) all.emplace_back(std::move(one));
  } else if (!value.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " has no members to go through"));
  }
  return all;
}

Value member(const Value& value, const Value& index) {
  if (value.is_object() && index.is_string()) {
    const auto found = value.find(index.get_ref<const std::string&>());
    return found == value.end() ? undefined_value() : *found;
  }
  if (!index.is_number_integer() || !(value.is_array() || value.is_string())) return undefined_value();
  int64_t place = index.get<int64_t>();
  const int64_t count = length_of(value);
  if (place < 0) place += count;
  if (place < 0 || place >= count) return undefined_value();
  if (value.is_array()) return value[static_cast<size_t>(place)];
  return Value(characters(value.get_ref<const std::string&>())[static_cast<size_t>(place)]);
}

absl::StatusOr<Value> slice(const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (!value.is_array() && !value.is_string()) return absl::InvalidArgumentError("only lists and strings have slices");
  for (const Value* bound : {&begin, &end, &step}) {
    if (!bound->is_null() && !bound->is_number_integer())
      return absl::InvalidArgumentError("bounds of a slice are whole numbers");
  }
  absl::StatusOr<std::vector<Value>> all = members_of(value);
  const auto count = static_cast<int64_t>(all->size());
  const int64_t by = step.is_null() ? 1 : step.get<int64_t>();
  if (by == 0) return absl::InvalidArgumentError("the step of a slice is 0");
  const auto place = [&](const Value& bound, int64_t otherwise) {
    if (bound.is_null()) return otherwise;
    int64_t at = bound.get<int64_t>();
    if (at < 0) at += count;
    return by > 0 ? std::clamp<int64_t>(at, 0, count) : std::clamp<int64_t>(at, -1, count - 1);
  };
  const int64_t first = place(begin, by > 0 ? 0 : count - 1);
  const int64_t last = place(end, by > 0 ? count : -1);
  Value list = Value::array();
  for (int64_t i = first; by > 0 ? i < last : i > last; i += std::clamp<int64_t>(by, -count - 1, count + 1))
    list.push_back((*all)[static_cast<size_t>(i)]);
  if (value.is_array()) return list;
  std::string text;
  for (const Value& one : list) text += one.get_ref<const std::string&>();
  return Value(text);
}

absl::StatusOr<Value> apply_operator(const std::string& name, const Value& left, const Value& right) {
  if (name == "==") return Value(equal(left, right));
  if (name == "!=") return Value(!equal(left, right));
  if (name == "~") return Value(text_of(left) + text_of(right));
  if (name == "in" || name == "not in") {
    bool found = false;
    if (right.is_string() && left.is_string()) {
      found = absl::StrContains(right.get_ref<const std::string&>(), left.get_ref<const std::string&>());
    } else if (right.is_object()) {
      found = left.is_string() && right.contains(left.get_ref<const std::string&>());
    } else if (right.is_array()) {
      found = std::any_of(right.begin(), right.end(), [&](const Value& one) { return equal(left, one); });
    } else if (!right.is_discarded()) {
      return wrong(name, left, right);
    }
    return Value(found == (name == "in"));
  }
  if (name == "<" || name == ">" || name == "<=" || name == ">=") {
    ASSIGN_OR_RETURN(int order, order_of(name, left, right));
    return Value(name == "<" ? order < 0 : name == ">" ? order > 0 : name == "<=" ? order <= 0 : order >= 0);
  }
  return arithmetic(name, left, right);
}

Value TemplateArguments::get(size_t place, const std::string& name) const {
  if (place < values.size()) return values[place];
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return undefined_value();
}

}  // namespace galleon
