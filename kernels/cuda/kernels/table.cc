#include "kernels/cuda/kernels/kernels.h"

namespace galleon::cuda {

void fill_kernels(OperationTable& table) {
  fill_bias(table);
}

}  // namespace galleon::cuda
