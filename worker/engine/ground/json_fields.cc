#include "worker/engine/ground/json_fields.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"

namespace galleon {

namespace {

using Json = nlohmann::json;

constexpr size_t kShown = 40;

std::string shown(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > kShown ? absl::StrCat(text.substr(0, kShown), "…") : text;
}

bool fits(const Json& value, int64_t least, int64_t most) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(most)) return false;
  return value.is_number_integer() && value.get<int64_t>() >= least && value.get<int64_t>() <= most;
}

std::string whole(int64_t least, int64_t most) {
  return absl::StrCat("a whole number from ", least, " to ", most);
}

const Json& empty_array() {
  static const Json empty = Json::array();
  return empty;
}

const Json& empty_object() {
  static const Json empty = Json::object();
  return empty;
}

}  // namespace

absl::StatusOr<Json> parse_json_object(absl::string_view text, const std::string& where) {
  Json json =
      nested_too_deeply(text) ? Json(Json::value_t::discarded) : Json::parse(text.begin(), text.end(), nullptr, false);
  if (!json.is_object()) return absl::DataLossError(absl::StrCat(where, " is damaged: it is no JSON object"));
  return json;
}

JsonFields::JsonFields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
  if (!object_.is_object()) status_ = absl::DataLossError(absl::StrCat(where_, " is damaged: it is no JSON object"));
}

const Json& JsonFields::get(const char* name) {
  static const Json missing;
  return object_.is_object() && object_.contains(name) ? object_.at(name) : missing;
}

void JsonFields::wrong(const char* name, const Json& value, const std::string& accepted) {
  if (!status_.ok()) return;
  const bool missing = !object_.contains(name);
  status_ = absl::DataLossError(absl::StrCat(where_, " is damaged: ", name, " is ", missing ? "missing" : shown(value),
                                             "; ", accepted, " is accepted"));
}

int64_t JsonFields::integer(const char* name, int64_t least, int64_t most) {
  const Json& value = get(name);
  if (fits(value, least, most)) return value.get<int64_t>();
  wrong(name, value, whole(least, most));
  return least;
}

uint64_t JsonFields::bits(const char* name) {
  const Json& value = get(name);
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  wrong(name, value, "a whole number of up to 64 bits");
  return 0;
}

double JsonFields::number(const char* name, double least) {
  const Json& value = get(name);
  if (value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= least)
    return value.get<double>();
  wrong(name, value, absl::StrCat("a number from ", least));
  return least;
}

bool JsonFields::boolean(const char* name) {
  const Json& value = get(name);
  if (value.is_boolean()) return value.get<bool>();
  wrong(name, value, "true or false");
  return false;
}

std::string JsonFields::text(const char* name) {
  const Json& value = get(name);
  if (value.is_string()) return value.get<std::string>();
  wrong(name, value, "a text");
  return "";
}

std::vector<std::string> JsonFields::texts(const char* name) {
  std::vector<std::string> all;
  for (const Json& value : array(name)) {
    if (!value.is_string()) wrong(name, value, "a list of texts");
    all.push_back(value.is_string() ? value.get<std::string>() : "");
  }
  return all;
}

std::vector<int64_t> JsonFields::integers(const char* name, int64_t least, int64_t most) {
  std::vector<int64_t> all;
  for (const Json& value : array(name)) {
    const bool good = fits(value, least, most);
    if (!good) wrong(name, value, absl::StrCat("a list of ", whole(least, most)));
    all.push_back(good ? value.get<int64_t>() : least);
  }
  return all;
}

const Json& JsonFields::object(const char* name) {
  const Json& value = get(name);
  if (value.is_object()) return value;
  wrong(name, value, "an object");
  return empty_object();
}

const Json& JsonFields::array(const char* name) {
  const Json& value = get(name);
  if (value.is_array()) return value;
  wrong(name, value, "a list");
  return empty_array();
}

}  // namespace galleon
