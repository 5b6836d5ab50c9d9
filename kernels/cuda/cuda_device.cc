// The CUDA device: plain allocations on one GPU, and everything ordered on one stream.
#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "kernels/cuda/context_state.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/event_stopwatch.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/library_operations.h"
#include "kernels/cuda/planning_table.h"
#include "kernels/cuda/status.h"
#include "kernels/operation_table.h"

namespace galleon {

namespace {

using cuda::require;

const OperationTable& cuda_operations() {
  static const OperationTable table = [] {
    OperationTable filled{};
    cuda::fill_kernels(filled);
    cuda::fill_products(filled);
    cuda::fill_singular_vectors(filled);
    cuda::fill_orthonormalize(filled);
    cuda::fill_workspaces(filled);
    return filled;
  }();
  return table;
}

class CudaDevice final : public Device {
 public:
  CudaDevice(std::unique_ptr<cuda::Context> context, std::string name)
      : context_(std::move(context)), name_(std::move(name)) {
    // For the few decompositions that the host's code takes over.
    execution_.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    execution_.cuda = context_.get();
  }
  ~CudaDevice() override {
    // The thread that ends a device need not be the one that made it.
    (void)cudaSetDevice(context_->index);
    release_workspace();
  }

  absl::string_view kind() const override { return "cuda"; }
  bool executes() const override { return true; }
  const OperationTable& operations() const override { return cuda_operations(); }
  const Execution& execution() const override { return execution_; }

  void upload(const Tensor& to, const void* from) override {
    GALLEON_CHECK(to.contiguous()) << shape_string(to);
    cuda::upload_now(*context_, to.data, from, static_cast<size_t>(to.bytes()));
  }
  void download(void* to, const Tensor& from) override {
    GALLEON_CHECK(from.contiguous()) << shape_string(from);
    cuda::download_now(*context_, to, from.data, static_cast<size_t>(from.bytes()));
  }

  std::unique_ptr<Stopwatch> make_stopwatch() override { return cuda::make_event_stopwatch(*context_); }

 protected:
  void* allocate_memory(int64_t bytes) override {
    context_->use();
    const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 64));
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, size);
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      return nullptr;
    }
    require(error, "cudaMalloc");
    require(cudaMemsetAsync(data, 0, size, context_->stream.get()), "cudaMemsetAsync");
    return data;
  }
  // Waits for everything that may still use the memory.
  void free_memory(void* data, int64_t) override { require(cudaFree(data), "cudaFree"); }

  bool keeps_scratch() const override { return true; }

  std::string memory_text() const override {
    size_t free = 0;
    size_t total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return name_;
    return absl::StrCat(name_, " with ", total, " bytes, of which the driver has ", free, " left");
  }

 private:
  std::unique_ptr<cuda::Context> context_;
  std::string name_;
  Execution execution_;
};

}  // namespace

absl::StatusOr<int> cuda_device_count() {
  int count = 0;
  RETURN_IF_ERROR(cuda::to_status(cudaGetDeviceCount(&count), "cudaGetDeviceCount"));
  if (count == 0) return cuda::to_status(cudaErrorNoDevice, "cudaGetDeviceCount");
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> make_cuda_device(int index) {
  absl::StatusOr<std::unique_ptr<cuda::Context>> context = cuda::Context::open(index);
  if (!context.ok()) return context.status();
  cudaDeviceProp properties{};
  RETURN_IF_ERROR(cuda::to_status(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties"));
  return std::make_unique<CudaDevice>(*std::move(context), absl::StrCat("GPU ", index, " (", properties.name, ")"));
}

void* compute_stream(const Device& device) {
  cuda::Context* context = device.execution().cuda;
  return context != nullptr ? cuda::stream_of(*context) : nullptr;
}

}  // namespace galleon
