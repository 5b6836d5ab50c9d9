#include "kernels/tensor.h"

namespace galleon {

const char* type_name(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "fp32";
    case DataType::kBFloat16:
      return "bf16";
    case DataType::kInt32:
      return "int32";
    case DataType::kUint8:
      return "uint8";
    case DataType::kUint16:
      return "uint16";
  }
  return "?";
}

std::string shape_string(const Tensor& t) {
  return std::to_string(t.rows) + "x" + std::to_string(t.columns) + " " + type_name(t.type);
}

}  // namespace galleon
