// The fields of one component of a tokenizer's file. Each is asked for by name and type; what was never asked for, or
// is of another type, is refused, so that nothing that a file says is left out.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace galleon {

// INVALID_ARGUMENT: "tokenizer: WHERE: WHAT".
absl::Status tokenizer_error(absl::string_view where, absl::string_view what);

class ComponentFields {
 public:
  // `kind`: "the normalizer", in errors. The JSON must outlive it; its "type" may be there or not.
  ComponentFields(const nlohmann::json& json, std::string kind, std::string where);

  const std::string& type() const { return type_; }
  // A field that is missing or null is `otherwise`.
  bool flag(const char* name, bool otherwise);
  std::string text(const char* name, const std::string& otherwise);
  int64_t number(const char* name, int64_t otherwise);
  // Null where it is missing.
  const nlohmann::json& value(const char* name);
  // A field that changes no id.
  void without_effect(const char* name);
  // A field whose only value that is available is null, or `idle`.
  void only(const char* name, const nlohmann::json& idle);
  absl::Status error(absl::string_view what) const;
  // The first field that was of another type, or is not known.
  absl::Status done() const;

 private:
  const nlohmann::json* find(const char* name);
  void refuse(const char* name, absl::string_view wanted);

  const nlohmann::json& json_;
  std::string kind_;
  std::string where_;
  std::string type_;
  std::set<std::string> asked_{"type"};
  absl::Status status_;
};

}  // namespace galleon
