// A tensor is a view: type, shape, row stride and address on one device. Owners are Buffers; operations take views.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>

#include "common/base/check.h"
#include "kernels/data_type.h"
#include "kernels/math/bfloat16.h"

namespace galleon {

constexpr int64_t bytes_of(DataType type) {
  return type == DataType::kUint8 ? 1 : type == DataType::kBFloat16 || type == DataType::kUint16 ? 2 : 4;
}
const char* type_name(DataType type);  // "fp32", "bf16", "int32", "uint8", "uint16"

// Row-major, at most two dimensions: `rows` × `columns`, consecutive rows `stride` elements apart. A vector of n
// numbers is n × 1 (a parameter, so that it is sharded by rows) or 1 × n (an operand); contiguous views may be reshaped
// freely.
struct Tensor {
  void* data = nullptr;
  DataType type = DataType::kFloat32;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;

  float* f32() const {
    GALLEON_CHECK(type == DataType::kFloat32) << "tensor is not fp32";
    return static_cast<float*>(data);
  }
  BFloat16* bf16() const {
    GALLEON_CHECK(type == DataType::kBFloat16) << "tensor is not bf16";
    return static_cast<BFloat16*>(data);
  }
  int32_t* i32() const {
    GALLEON_CHECK(type == DataType::kInt32) << "tensor is not int32";
    return static_cast<int32_t*>(data);
  }
  uint8_t* u8() const {
    GALLEON_CHECK(type == DataType::kUint8) << "tensor is not uint8";
    return static_cast<uint8_t*>(data);
  }
  uint16_t* u16() const {
    GALLEON_CHECK(type == DataType::kUint16) << "tensor is not uint16";
    return static_cast<uint16_t*>(data);
  }
  // The same by the element's C++ type, for code over both kinds of floating-point numbers.
  template <typename T>
  T* as() const {
    if constexpr (std::is_same_v<T, float>) {
      return f32();
    } else {
      static_assert(std::is_same_v<T, BFloat16>);
      return bf16();
    }
  }
  bool floating() const { return type == DataType::kFloat32 || type == DataType::kBFloat16; }
  int64_t size() const { return rows * columns; }
  int64_t bytes() const { return size() * bytes_of(type); }
  bool contiguous() const { return stride == columns || rows <= 1; }

  // Rows [begin, begin + count).
  Tensor row_range(int64_t begin, int64_t count) const {
    GALLEON_CHECK(begin >= 0 && count >= 0 && begin + count <= rows)
        << begin << "+" << count << " of " << rows << " rows";
    return {static_cast<char*>(data) + begin * stride * bytes_of(type), type, count, columns, stride};
  }
  // Columns [begin, begin + count).
  Tensor column_range(int64_t begin, int64_t count) const {
    GALLEON_CHECK(begin >= 0 && count >= 0 && begin + count <= columns) << begin << "+" << count << " of " << columns;
    return {static_cast<char*>(data) + begin * bytes_of(type), type, rows, count, stride};
  }
  Tensor reshape(int64_t new_rows, int64_t new_columns) const {
    GALLEON_CHECK(contiguous() && new_rows * new_columns == size())
        << rows << "x" << columns << " to " << new_rows << "x" << new_columns;
    return {data, type, new_rows, new_columns, new_columns};
  }
};

std::string shape_string(const Tensor& t);  // "512x1376 fp32"

}  // namespace galleon
