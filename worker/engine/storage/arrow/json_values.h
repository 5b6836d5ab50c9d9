// Values of Arrow arrays as JSON.
#pragma once

#include <arrow/array.h>

#include <string>

namespace galleon_arrow {

// Whether each value of the type has a form in JSON; `why` names the part that has none.
bool has_json_form(const arrow::DataType& type, std::string& why);

// Adds the value at `row`. Strings and names are escaped; bytes are a string where they are UTF-8; numbers keep their
// digits, a decimal too; NaN and infinities are null; dates and times are strings as Arrow writes them; lists are
// arrays, structs and maps with names are objects in their order, with nulls where they are null; a dictionary's values
// stand for themselves. Invalid: bytes that are no UTF-8.
arrow::Status append_json(const arrow::Array& array, int64_t row, std::string& out);

// Adds a quoted and escaped string.
void append_json_string(const char* text, size_t length, std::string& out);

}  // namespace galleon_arrow
