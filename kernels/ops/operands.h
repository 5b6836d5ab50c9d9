// What the wrappers of the operations share: checks of shapes that name the operation and the operand, and the counting
// of work.
#pragma once

#include "kernels/device.h"
#include "kernels/operation_table.h"

namespace galleon {

// Aborts unless `t` is rows×columns with a sound stride. `what` is "operation: operand".
inline void check_shape(const char* what, const Tensor& t, int64_t rows, int64_t columns,
                        DataType type = DataType::kFloat32) {
  GALLEON_CHECK(t.rows == rows && t.columns == columns && t.type == type && (t.rows <= 1 || t.stride >= t.columns))
      << what << " is " << shape_string(t) << " with stride " << t.stride << ", expected " << rows << "x" << columns
      << " " << type_name(type);
}

// Aborts unless `t` holds `count` numbers without gaps, as a row or a column.
inline void check_vector(const char* what, const Tensor& t, int64_t count, DataType type = DataType::kFloat32) {
  GALLEON_CHECK(t.size() == count && t.contiguous() && t.type == type)
      << what << " is " << shape_string(t) << " with stride " << t.stride << ", expected " << count << " "
      << type_name(type) << " numbers without gaps";
}

inline void check_contiguous(const char* what, const Tensor& t) {
  GALLEON_CHECK(t.contiguous()) << what << " is " << shape_string(t) << " with stride " << t.stride
                                << ", expected no gaps";
}

inline void count_work(Device& device, double flops, double bytes, WorkKind kind = WorkKind::kMemory,
                       DataType numbers = DataType::kFloat32) {
  device.count({kind, numbers, flops, bytes});
}

// Calls `call(functions, element)` with the functions for tensors of `type`, fp32 or bf16, and a number of that type.
template <typename Call>
void by_float_type(const char* what, const Device& device, DataType type, Call call) {
  GALLEON_CHECK(type == DataType::kFloat32 || type == DataType::kBFloat16) << what << " is " << type_name(type);
  if (type == DataType::kBFloat16) {
    call(device.operations().bf16, BFloat16{});
  } else {
    call(device.operations().f32, 0.0F);
  }
}

// A tensor as functions of the table take it. Without data where it is left out: an empty tensor of any type.
template <typename T>
Matrix<T> matrix(const Tensor& t) {
  return {t.as<T>(), t.stride};
}
template <typename T>
Matrix<T> matrix_or_none(const Tensor& t) {
  return t.rows > 0 && t.data != nullptr ? matrix<T>(t) : Matrix<T>{nullptr, 0};
}
inline CodedNumbers coded_numbers(const Tensor& codes, const Tensor& scales) {
  return {codes.u8(), scales.f32()};
}
inline float* vector_or_null(const Tensor& t) {
  return t.rows > 0 ? t.f32() : nullptr;
}

// Rows and columns of an elementwise operation: one long row where no operand has gaps.
struct Extent {
  int64_t rows;
  int64_t columns;
};
template <typename... Tensors>
Extent elementwise_extent(const Tensor& first, const Tensors&... others) {
  const bool gapless = first.contiguous() && (others.contiguous() && ...);
  return gapless ? Extent{first.size() > 0 ? 1 : 0, first.size()} : Extent{first.rows, first.columns};
}

}  // namespace galleon
