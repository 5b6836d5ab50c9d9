// What CUDA and its libraries answer, checked: in a sentence for the user where a device is opened, and by the end of
// the process where an operation cannot go on.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>

#include <string>

#include "absl/status/status.h"

namespace galleon::cuda {

// Whether the card, its memory, its link or its driver is to blame, and not what was asked of it: another process on
// the same card would fare alike, the same process on another card would not.
bool is_device_failure(cudaError_t error);

// What a user can do about it; empty where the library's own words are all there is.
std::string advice(cudaError_t error);

// "cudaMalloc: out of memory (cudaErrorMemoryAllocation): …". OK for success; RESOURCE_EXHAUSTED for memory,
// UNAVAILABLE where there is no sound device, INTERNAL otherwise.
absl::Status to_status(cudaError_t error, const char* call);
absl::Status to_status(cublasStatus_t status, const char* call);
absl::Status to_status(cusolverStatus_t status, const char* call);

// For those who handle errors themselves and must not take a failed device for something else: ends the process with
// kDeviceFailureExitCode where the error says that the device failed, otherwise nothing.
void end_if_device_failed(cudaError_t error, const char* call);

// For calls within operations: a failed device ends the process with kDeviceFailureExitCode, anything else is a bug and
// aborts. A library that only says that its kernels failed is asked again through the runtime, which knows why.
void require(cudaError_t error, const char* call);
void require(cublasStatus_t status, const char* call);
void require(cusolverStatus_t status, const char* call);

}  // namespace galleon::cuda
