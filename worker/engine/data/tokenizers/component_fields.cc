#include "worker/engine/data/tokenizers/component_fields.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace galleon {

using Json = nlohmann::json;

absl::Status tokenizer_error(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", where, ": ", what));
}

ComponentFields::ComponentFields(const Json& json, std::string kind, std::string where)
    : json_(json), kind_(std::move(kind)), where_(std::move(where)) {
  if (!json_.is_object()) {
    status_ = tokenizer_error(where_, absl::StrCat(kind_, " is not a JSON object"));
    return;
  }
  const auto type = json_.find("type");
  if (type != json_.end() && type->is_string()) type_ = type->get<std::string>();
}

const Json* ComponentFields::find(const char* name) {
  asked_.insert(name);
  if (!json_.is_object()) return nullptr;
  const auto found = json_.find(name);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

void ComponentFields::refuse(const char* name, absl::string_view wanted) {
  status_.Update(error(absl::StrCat("has the field \"", name, "\": ", json_[name].dump(), "; ", wanted)));
}

bool ComponentFields::flag(const char* name, bool otherwise) {
  const Json* found = find(name);
  if (found == nullptr) return otherwise;
  if (found->is_boolean()) return found->get<bool>();
  refuse(name, "true or false is accepted");
  return otherwise;
}

std::string ComponentFields::text(const char* name, const std::string& otherwise) {
  const Json* found = find(name);
  if (found == nullptr) return otherwise;
  if (found->is_string()) return found->get<std::string>();
  refuse(name, "a text is accepted");
  return otherwise;
}

int64_t ComponentFields::number(const char* name, int64_t otherwise) {
  const Json* found = find(name);
  if (found == nullptr) return otherwise;
  if (found->is_number_integer()) return found->get<int64_t>();
  refuse(name, "a whole number is accepted");
  return otherwise;
}

const Json& ComponentFields::value(const char* name) {
  static const Json null;
  const Json* found = find(name);
  return found == nullptr ? null : *found;
}

void ComponentFields::without_effect(const char* name) {
  asked_.insert(name);
}

void ComponentFields::only(const char* name, const Json& idle) {
  const Json* found = find(name);
  if (found != nullptr && *found != idle)
    refuse(name, absl::StrCat("available in this version: null or ", idle.dump()));
}

absl::Status ComponentFields::error(absl::string_view what) const {
  const std::string name = type_.empty() ? kind_ : absl::StrCat(kind_, " \"", type_, "\"");
  return tokenizer_error(where_, absl::StrCat(name, " ", what));
}

absl::Status ComponentFields::done() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : json_.items()) {
    if (!value.is_null() && asked_.count(name) == 0)
      return error(absl::StrCat("has the field \"", name, "\", which is not known in this version"));
  }
  return absl::OkStatus();
}

}  // namespace galleon
