// The fields of a JSON object that comes from outside, each by name, type and range.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace galleon {

// No count of steps, tokens or rows of a run comes near, and sums and products of two of them do not overflow.
inline constexpr int64_t kMostCounted = int64_t{1} << 40;

// DATA_LOSS with `where`: it is no JSON object, or too deeply nested.
absl::StatusOr<nlohmann::json> parse_json_object(absl::string_view text, const std::string& where);

// Takes fields one after the other. The first that is missing or wrong is kept, and those after it are the least that
// is accepted, so that the status may be asked for at the end.
class JsonFields {
 public:
  // `where`: the file, and the field that `object` is the value of, for messages. Both outlive it.
  JsonFields(const nlohmann::json& object, std::string where);

  bool has(const char* name) const { return object_.contains(name) && !object_.at(name).is_null(); }
  int64_t integer(const char* name, int64_t least, int64_t most);
  // Any of 64 bits.
  uint64_t bits(const char* name);
  double number(const char* name, double least);
  bool boolean(const char* name);
  std::string text(const char* name);
  std::vector<std::string> texts(const char* name);
  std::vector<int64_t> integers(const char* name, int64_t least, int64_t most);
  // An empty one where it is wrong.
  const nlohmann::json& object(const char* name);
  const nlohmann::json& array(const char* name);

  // DATA_LOSS: "FILE is damaged: FIELD is VALUE; WHAT is accepted".
  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& get(const char* name);
  void wrong(const char* name, const nlohmann::json& value, const std::string& accepted);

  const nlohmann::json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace galleon
