// The columns of a row by name, whatever their capitals, and which of them somebody has made use of.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace galleon {

class RowFields {
 public:
  // `row` is an object, and must outlive it.
  explicit RowFields(const nlohmann::ordered_json& row);

  // The value of a column by its name in small letters, which counts as made use of from now on; null: there is none,
  // or it is JSON's null. Of columns that differ in capitals alone the first one.
  const nlohmann::ordered_json* take(absl::string_view name);
  // Whether take() would give a value.
  bool has(absl::string_view name) const;

  struct Rest {
    std::string name;   // as the row spells it
    std::string lower;  // in small letters
    const nlohmann::ordered_json* value;
  };
  // The columns that nobody took and that are not null, in the row's order.
  std::vector<Rest> rest() const;

 private:
  struct Field {
    Rest column;
    bool taken = false;
  };
  std::vector<Field> fields_;
};

// Whether a value says nothing: null, an empty text, list or object, false.
bool says_nothing(const nlohmann::ordered_json& value);

}  // namespace galleon
