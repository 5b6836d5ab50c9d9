#include "kernels/tensor.h"

namespace galleon {

std::string shape_string(const Tensor& t) {
  return std::to_string(t.rows) + "x" + std::to_string(t.columns) + (t.type == DataType::kFloat32 ? " fp32" : " int32");
}

}  // namespace galleon
