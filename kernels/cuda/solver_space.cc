#include "kernels/cuda/solver_space.h"

#include "common/base/log.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/status.h"

namespace galleon::cuda {

namespace {

void* host_memory(Context& context, size_t bytes) {
  if (bytes > context.solver_host.size()) {
    require(cudaStreamSynchronize(context.stream.get()), "cudaStreamSynchronize");
    context.solver_host.resize(bytes);
  }
  return context.solver_host.data();
}

}  // namespace

SolverSpace::SolverSpace(Context& context, const char* call, int64_t order, void* reserved, int64_t reserved_bytes,
                         size_t device_bytes, size_t host_bytes)
    : device_(reserved), device_bytes_(device_bytes), host_(host_memory(context, host_bytes)), host_bytes_(host_bytes) {
  if (device_bytes <= static_cast<size_t>(reserved_bytes)) return;
  log_warning(call, " of order ", order, " asks for ", device_bytes, " bytes of scratch memory and the plan holds ",
              reserved_bytes, "; it gets memory outside of the ledger");
  void* data = nullptr;
  require(cudaMalloc(&data, device_bytes), "cudaMalloc of a decomposition's scratch memory");
  extra_.reset(data);
  device_ = data;
}

}  // namespace galleon::cuda
