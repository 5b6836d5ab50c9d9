// An operand in the type that a product needs.
#pragma once

#include "kernels/device.h"
#include "kernels/ops/activation.h"

namespace galleon {

// An fp32 or bf16 tensor as one of the other type, in the workspace, or itself.
class InType {
 public:
  InType(Device& device, const Tensor& x, DataType type)
      : memory_(device, x.type == type ? 0 : x.size() * bytes_of(type)),
        tensor_(x.type == type ? x : memory_.tensor(x.rows, x.columns, type)) {
    if (x.type != type) convert(device, x, tensor_);
  }
  const Tensor& tensor() const { return tensor_; }

 private:
  Workspace memory_;
  Tensor tensor_;
};

}  // namespace galleon
