// Operands of tests on any device: numbers are written by uploads and read by downloads, never through an address.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/device.h"
#include "tests/kernels/cases/case.h"

namespace galleon {

// Between the rows of a tensor: none, some that leave most rows at odd addresses (true), or some that keep every row at
// a multiple of 16 bytes.
struct Gaps {
  constexpr Gaps(bool odd = false) : before(odd ? 3 : 0) {}  // NOLINT: most tests say yes or no
  static constexpr Gaps aligned() {
    Gaps gaps;
    gaps.before = 8;
    return gaps;
  }
  int64_t width(int64_t columns) const {
    return before == 8 ? (before + columns + 8) / 8 * 8 : columns + (before > 0 ? 8 : 0);
  }
  int64_t before;  // numbers before a row
};
inline constexpr Gaps kEveryGaps[] = {false, true, Gaps::aligned()};

class DeviceOperands {
 public:
  explicit DeviceOperands(Device& device) : device_(device), arena_(device) {}

  // A rows×columns tensor inside a wider one whose other numbers are NaN, and stay it, or without gaps.
  Tensor tensor(const Values& values, int64_t rows, int64_t columns, Gaps gaps = false,
                DataType type = DataType::kFloat32) {
    EXPECT_EQ(static_cast<int64_t>(values.size()), rows * columns);
    const int64_t width = gaps.width(columns);
    const Tensor whole = arena_.tensor("operand", MemoryCategory::kActivations, rows, width, type);
    EXPECT_TRUE(arena_.status().ok()) << arena_.status();
    Values padded(static_cast<size_t>(rows * width), std::numeric_limits<double>::quiet_NaN());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) padded[r * width + gaps.before + c] = values[r * columns + c];
    }
    write(whole, padded);
    if (gaps.before == 0) return whole;
    padded_.push_back({whole, gaps.before, columns});
    return whole.column_range(gaps.before, columns);
  }
  Tensor empty(int64_t rows, int64_t columns, Gaps gaps = false, DataType type = DataType::kFloat32) {
    return tensor(Values(static_cast<size_t>(rows * columns), std::numeric_limits<double>::quiet_NaN()), rows, columns,
                  gaps, type);
  }
  // Of any type, all bits 0.
  Tensor zeros(int64_t rows, int64_t columns, DataType type) {
    return arena_.tensor("operand", MemoryCategory::kActivations, rows, columns, type);
  }
  Tensor integers(const std::vector<int32_t>& values) {
    const Tensor t = zeros(static_cast<int64_t>(values.size()), 1, DataType::kInt32);
    if (t.rows > 0) device_.upload(t, values.data());
    return t;
  }

  // What the tensor holds, without gaps; the memory between its rows is downloaded with them.
  std::vector<char> bytes_of_tensor(const Tensor& t) {
    if (t.size() == 0) return {};
    const int64_t width = bytes_of(t.type);
    const Tensor whole{t.data, t.type, 1, (t.rows - 1) * t.stride + t.columns, t.stride};
    std::vector<char> all(static_cast<size_t>(whole.bytes()));
    device_.download(all.data(), whole);
    if (t.contiguous()) return all;
    std::vector<char> bytes(static_cast<size_t>(t.bytes()));
    for (int64_t r = 0; r < t.rows; ++r)
      std::memcpy(bytes.data() + r * t.columns * width, all.data() + r * t.stride * width,
                  static_cast<size_t>(t.columns * width));
    return bytes;
  }
  Values values_of(const Tensor& t) {
    const std::vector<char> bytes = bytes_of_tensor(t);
    Values values(static_cast<size_t>(t.size()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = number_at(t.type, bytes.data(), i);
    return values;
  }
  void set_number(const Tensor& t, int64_t row, int64_t column, double value) {
    write(t.row_range(row, 1).column_range(column, 1), {value});
  }
  // `t` without gaps.
  void write(const Tensor& t, const Values& values) {
    if (t.size() == 0) return;
    if (t.type == DataType::kBFloat16) {
      std::vector<BFloat16> rounded(values.size());
      for (size_t i = 0; i < values.size(); ++i) rounded[i] = math::to_bfloat16(static_cast<float>(values[i]));
      device_.upload(t, rounded.data());
    } else {
      ASSERT_EQ(t.type, DataType::kFloat32);
      const std::vector<float> rounded(values.begin(), values.end());
      device_.upload(t, rounded.data());
    }
  }

  void expect_untouched_gaps() {
    for (const auto& [whole, before, columns] : padded_) {
      const Values values = values_of(whole);
      for (int64_t r = 0; r < whole.rows; ++r) {
        for (int64_t c = 0; c < whole.columns; ++c) {
          if (c >= before && c < before + columns) continue;
          ASSERT_TRUE(std::isnan(values[r * whole.columns + c])) << "row " << r << " wrote into a gap";
        }
      }
    }
  }

 private:
  struct Padded {
    Tensor whole;
    int64_t before;
    int64_t columns;
  };

  static double number_at(DataType type, const char* bytes, size_t i) {
    switch (type) {
      case DataType::kUint8:
        return static_cast<double>(static_cast<uint8_t>(bytes[i]));
      case DataType::kUint16: {
        uint16_t value;
        std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
        return static_cast<double>(value);
      }
      case DataType::kInt32: {
        int32_t value;
        std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
        return value;
      }
      case DataType::kBFloat16: {
        BFloat16 value;
        std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
        return static_cast<double>(math::to_float(value));
      }
      default: {
        float value;
        std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
        return static_cast<double>(value);
      }
    }
  }

  Device& device_;
  Arena arena_;
  std::vector<Padded> padded_;
};

}  // namespace galleon
