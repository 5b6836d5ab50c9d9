#include "kernels/cuda/solver_space.h"

#include "common/base/log.h"
#include "kernels/cuda/status.h"

namespace galleon::cuda {

SolverSpace::SolverSpace(const char* call, int64_t order, void* reserved, int64_t reserved_bytes, size_t device_bytes,
                         size_t host_bytes)
    : device_(reserved), device_bytes_(device_bytes), host_(host_bytes) {
  if (device_bytes <= static_cast<size_t>(reserved_bytes)) return;
  log_warning(call, " of order ", order, " asks for ", device_bytes, " bytes of scratch memory and the plan holds ",
              reserved_bytes, "; it gets memory outside of the ledger");
  void* data = nullptr;
  require(cudaMalloc(&data, device_bytes), "cudaMalloc of a decomposition's scratch memory");
  extra_.reset(data);
  device_ = data;
}

}  // namespace galleon::cuda
