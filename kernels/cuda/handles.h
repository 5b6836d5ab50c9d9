// Streams, events, device and pinned memory and the libraries' handles, each owned by one object.
#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

#include <memory>

namespace galleon::cuda {

namespace internal {

// Destructors never throw, and what cannot be given back belongs to a process that ends.
struct DestroyStream {
  void operator()(cudaStream_t stream) const { (void)cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { (void)cudaEventDestroy(event); }
};
struct FreeMemory {
  void operator()(void* data) const { (void)cudaFree(data); }
};
struct FreePinned {
  void operator()(void* data) const { (void)cudaFreeHost(data); }
};
struct DestroyBlas {
  void operator()(cublasHandle_t handle) const { (void)cublasDestroy(handle); }
};
struct DestroyBlasLt {
  void operator()(cublasLtHandle_t handle) const { (void)cublasLtDestroy(handle); }
};
struct DestroySolver {
  void operator()(cusolverDnHandle_t handle) const { (void)cusolverDnDestroy(handle); }
};
struct DestroySolverParameters {
  void operator()(cusolverDnParams_t parameters) const { (void)cusolverDnDestroyParams(parameters); }
};

}  // namespace internal

// All of CUDA's handles are pointers.
using Stream = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, internal::DestroyStream>;
using Event = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, internal::DestroyEvent>;
using DeviceMemory = std::unique_ptr<void, internal::FreeMemory>;
using PinnedMemory = std::unique_ptr<void, internal::FreePinned>;
using BlasHandle = std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, internal::DestroyBlas>;
using BlasLtHandle = std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, internal::DestroyBlasLt>;
using SolverHandle = std::unique_ptr<std::remove_pointer_t<cusolverDnHandle_t>, internal::DestroySolver>;
using SolverParameters = std::unique_ptr<std::remove_pointer_t<cusolverDnParams_t>, internal::DestroySolverParameters>;

}  // namespace galleon::cuda
