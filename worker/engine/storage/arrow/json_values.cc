#include "worker/engine/storage/arrow/json_values.h"

#include <arrow/array.h>
#include <arrow/extension_type.h>
#include <arrow/scalar.h>
#include <arrow/type_traits.h>
#include <arrow/util/float16.h>
#include <arrow/util/utf8.h>

#include <charconv>
#include <cmath>
#include <cstdio>

namespace galleon_arrow {

namespace {

using arrow::Array;
using arrow::Status;
using arrow::Type;

template <typename Number>
void append_number(Number value, std::string& out) {
  char text[64];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), value);
  out.append(text, end.ptr);
}

template <typename ArrayType>
Status append_integer(const Array& array, int64_t row, std::string& out) {
  append_number(static_cast<const ArrayType&>(array).Value(row), out);
  return Status::OK();
}

template <typename Number>
Status append_finite(Number value, std::string& out) {
  if (std::isfinite(value)) {
    append_number(value, out);
  } else {
    out += "null";
  }
  return Status::OK();
}

template <typename ArrayType>
Status append_float(const Array& array, int64_t row, std::string& out) {
  return append_finite(static_cast<const ArrayType&>(array).Value(row), out);
}

Status append_half(const Array& array, int64_t row, std::string& out) {
  const uint16_t bits = static_cast<const arrow::HalfFloatArray&>(array).Value(row);
  return append_finite(arrow::util::Float16::FromBits(bits).ToFloat(), out);
}

template <typename ArrayType>
Status append_text(const Array& array, int64_t row, bool bytes, std::string& out) {
  const auto view = static_cast<const ArrayType&>(array).GetView(row);
  if (bytes &&
      !arrow::util::ValidateUTF8(reinterpret_cast<const uint8_t*>(view.data()), static_cast<int64_t>(view.size())))
    return Status::Invalid("bytes that are no UTF-8");
  append_json_string(view.data(), view.size(), out);
  return Status::OK();
}

Status append_elements(const Array& values, int64_t begin, int64_t size, std::string& out) {
  out += '[';
  for (int64_t i = 0; i < size; ++i) {
    if (i > 0) out += ',';
    ARROW_RETURN_NOT_OK(append_json(values, begin + i, out));
  }
  out += ']';
  return Status::OK();
}

template <typename ArrayType>
Status append_list(const Array& array, int64_t row, std::string& out) {
  const auto& list = static_cast<const ArrayType&>(array);
  return append_elements(*list.values(), list.value_offset(row), list.value_length(row), out);
}

Status append_struct(const Array& array, int64_t row, std::string& out) {
  const auto& fields = static_cast<const arrow::StructArray&>(array);
  out += '{';
  for (int i = 0; i < fields.num_fields(); ++i) {
    if (i > 0) out += ',';
    const std::string& name = fields.struct_type()->field(i)->name();
    append_json_string(name.data(), name.size(), out);
    out += ':';
    ARROW_RETURN_NOT_OK(append_json(*fields.field(i), row, out));
  }
  out += '}';
  return Status::OK();
}

bool is_text(Type::type id) {
  return id == Type::STRING || id == Type::LARGE_STRING || id == Type::STRING_VIEW;
}

Status append_map(const Array& array, int64_t row, std::string& out) {
  const auto& map = static_cast<const arrow::MapArray&>(array);
  out += '{';
  for (int64_t i = 0; i < map.value_length(row); ++i) {
    if (i > 0) out += ',';
    ARROW_RETURN_NOT_OK(append_json(*map.keys(), map.value_offset(row) + i, out));
    out += ':';
    ARROW_RETURN_NOT_OK(append_json(*map.items(), map.value_offset(row) + i, out));
  }
  out += '}';
  return Status::OK();
}

// Dates, times and decimals, as Arrow writes them.
Status append_written(const Array& array, int64_t row, bool quoted, std::string& out) {
  ARROW_ASSIGN_OR_RAISE(const std::shared_ptr<arrow::Scalar> value, array.GetScalar(row));
  const std::string text = value->ToString();
  if (quoted) {
    append_json_string(text.data(), text.size(), out);
  } else {
    out += text;
  }
  return Status::OK();
}

}  // namespace

void append_json_string(const char* text, size_t length, std::string& out) {
  out += '"';
  size_t plain = 0;
  for (size_t i = 0; i < length; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text + plain, i - plain);
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        char escaped[8];
        std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned>(c));
        out += escaped;
      }
    }
  }
  out.append(text + plain, length - plain);
  out += '"';
}

bool has_json_form(const arrow::DataType& type, std::string& why) {
  switch (type.id()) {
    case Type::EXTENSION:
      return has_json_form(*static_cast<const arrow::ExtensionType&>(type).storage_type(), why);
    case Type::DICTIONARY:
      return has_json_form(*static_cast<const arrow::DictionaryType&>(type).value_type(), why);
    case Type::MAP:
      if (!is_text(static_cast<const arrow::MapType&>(type).key_type()->id())) {
        why = "a map whose keys are " + static_cast<const arrow::MapType&>(type).key_type()->ToString();
        return false;
      }
      return has_json_form(*static_cast<const arrow::MapType&>(type).item_type(), why);
    case Type::LIST:
    case Type::LARGE_LIST:
    case Type::FIXED_SIZE_LIST:
    case Type::LIST_VIEW:
    case Type::LARGE_LIST_VIEW:
    case Type::STRUCT:
      for (const std::shared_ptr<arrow::Field>& field : type.fields()) {
        if (!has_json_form(*field->type(), why)) return false;
      }
      return true;
    case Type::NA:
    case Type::BOOL:
    case Type::STRING:
    case Type::LARGE_STRING:
    case Type::STRING_VIEW:
    case Type::BINARY:
    case Type::LARGE_BINARY:
    case Type::BINARY_VIEW:
    case Type::FIXED_SIZE_BINARY:
    case Type::HALF_FLOAT:
      return true;
    default:
      if (arrow::is_numeric(type.id()) || arrow::is_decimal(type.id()) || arrow::is_temporal(type.id())) return true;
      why = type.ToString();
      return false;
  }
}

Status append_json(const Array& array, int64_t row, std::string& out) {
  if (array.IsNull(row)) {
    out += "null";
    return Status::OK();
  }
  switch (array.type_id()) {
    case Type::NA:
      out += "null";
      return Status::OK();
    case Type::BOOL:
      out += static_cast<const arrow::BooleanArray&>(array).Value(row) ? "true" : "false";
      return Status::OK();
    case Type::INT8:
      return append_integer<arrow::Int8Array>(array, row, out);
    case Type::INT16:
      return append_integer<arrow::Int16Array>(array, row, out);
    case Type::INT32:
      return append_integer<arrow::Int32Array>(array, row, out);
    case Type::INT64:
      return append_integer<arrow::Int64Array>(array, row, out);
    case Type::UINT8:
      return append_integer<arrow::UInt8Array>(array, row, out);
    case Type::UINT16:
      return append_integer<arrow::UInt16Array>(array, row, out);
    case Type::UINT32:
      return append_integer<arrow::UInt32Array>(array, row, out);
    case Type::UINT64:
      return append_integer<arrow::UInt64Array>(array, row, out);
    case Type::HALF_FLOAT:
      return append_half(array, row, out);
    case Type::FLOAT:
      return append_float<arrow::FloatArray>(array, row, out);
    case Type::DOUBLE:
      return append_float<arrow::DoubleArray>(array, row, out);
    case Type::STRING:
      return append_text<arrow::StringArray>(array, row, false, out);
    case Type::LARGE_STRING:
      return append_text<arrow::LargeStringArray>(array, row, false, out);
    case Type::STRING_VIEW:
      return append_text<arrow::StringViewArray>(array, row, false, out);
    case Type::BINARY:
      return append_text<arrow::BinaryArray>(array, row, true, out);
    case Type::LARGE_BINARY:
      return append_text<arrow::LargeBinaryArray>(array, row, true, out);
    case Type::BINARY_VIEW:
      return append_text<arrow::BinaryViewArray>(array, row, true, out);
    case Type::FIXED_SIZE_BINARY:
      return append_text<arrow::FixedSizeBinaryArray>(array, row, true, out);
    case Type::LIST:
      return append_list<arrow::ListArray>(array, row, out);
    case Type::LARGE_LIST:
      return append_list<arrow::LargeListArray>(array, row, out);
    case Type::FIXED_SIZE_LIST:
      return append_list<arrow::FixedSizeListArray>(array, row, out);
    case Type::LIST_VIEW:
      return append_list<arrow::ListViewArray>(array, row, out);
    case Type::LARGE_LIST_VIEW:
      return append_list<arrow::LargeListViewArray>(array, row, out);
    case Type::STRUCT:
      return append_struct(array, row, out);
    case Type::MAP:
      return append_map(array, row, out);
    case Type::DICTIONARY: {
      const auto& words = static_cast<const arrow::DictionaryArray&>(array);
      return append_json(*words.dictionary(), words.GetValueIndex(row), out);
    }
    case Type::EXTENSION:
      return append_json(*static_cast<const arrow::ExtensionArray&>(array).storage(), row, out);
    default:
      return append_written(array, row, arrow::is_temporal(array.type_id()), out);
  }
}

}  // namespace galleon_arrow
