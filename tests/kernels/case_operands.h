// The operands of a case in a test: numbers drawn on the host, uploaded with gaps or without.
#pragma once

#include <vector>

#include "tests/kernels/cases/case.h"
#include "tests/kernels/numerics.h"

namespace galleon {

// The numbers of every operand; of outputs none. In bf16 those of typed operands are numbers that it holds.
inline std::vector<Values> drawn_numbers(const OperationCase& of, DataType numbers) {
  std::vector<Values> drawn;
  for (const Operand& o : of.operands()) {
    const int64_t count = o.rows * o.columns;
    Values values;
    if (o.limit > 0) {
      for (int64_t i = 0; i < count; ++i)
        values.push_back(o.targets && i % 4 == 2 ? -100.0 : static_cast<double>(i * 7919 % o.limit));
    } else if (o.drawn()) {
      values = normal_values(count, drawn.size() + 1, o.deviation);
      if (o.positive) {
        for (double& value : values) value = static_cast<float>(value * value);
      }
      const bool narrow = (o.typed && numbers == DataType::kBFloat16) || o.type == DataType::kBFloat16;
      if (narrow) values = bfloat16_values(values);
    }
    drawn.push_back(std::move(values));
  }
  return drawn;
}

// Tensors of these numbers, NaN or zeros where there are none, and prepared.
inline std::vector<Tensor> upload(DeviceOperands& operands, Device& device, const OperationCase& of,
                                  const std::vector<Values>& numbers, DataType type, Gaps gaps) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const Operand& o = of.operands()[i];
    const DataType own = o.type_for(type);
    const Gaps own_gaps = o.gaps ? gaps : Gaps(false);
    if (own == DataType::kInt32) {
      tensors.push_back(operands.integers(std::vector<int32_t>(numbers[i].begin(), numbers[i].end())));
    } else if (own == DataType::kUint8 || own == DataType::kUint16) {
      tensors.push_back(operands.zeros(o.rows, o.columns, own));
    } else if (numbers[i].empty()) {
      tensors.push_back(operands.empty(o.rows, o.columns, own_gaps, own));
    } else {
      tensors.push_back(operands.tensor(numbers[i], o.rows, o.columns, own_gaps, own));
    }
  }
  of.prepare(device, tensors);
  return tensors;
}

inline bool is_result(const Operand& o) {
  return o.role == Role::kOutput || o.role == Role::kUpdated || o.role == Role::kAdded;
}

}  // namespace galleon
