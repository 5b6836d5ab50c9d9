// What can be said of the CUDA device without a GPU.
#include "kernels/cuda/status.h"

#include <gmock/gmock.h>

#include "common/base/device_failure.h"
#include "kernels/cuda/devices.h"
#include "kernels/cuda/launch_text.h"

namespace galleon::cuda {
namespace {

using testing::ExitedWithCode;
using testing::HasSubstr;

TEST(CudaStatus, EveryFailureOfADeviceComesWithAnAdvice) {
  for (int code = 1; code < 1200; ++code) {
    const auto error = static_cast<cudaError_t>(code);
    if (!is_device_failure(error)) continue;
    EXPECT_EQ(to_status(error, "cudaCall").code(), absl::StatusCode::kUnavailable) << cudaGetErrorName(error);
    EXPECT_THAT(std::string(to_status(error, "cudaCall").message()), HasSubstr(cudaGetErrorName(error)));
    const bool of_mps = error == cudaErrorMpsServerNotReady || error == cudaErrorMpsConnectionFailed;
    EXPECT_TRUE(of_mps || !advice(error).empty()) << cudaGetErrorName(error);
  }
  EXPECT_TRUE(is_device_failure(cudaErrorECCUncorrectable));
  EXPECT_TRUE(is_device_failure(cudaErrorUnknown));
  for (const cudaError_t bug : {cudaErrorIllegalAddress, cudaErrorInvalidValue, cudaErrorLaunchOutOfResources,
                                cudaErrorMemoryAllocation, cudaErrorNoKernelImageForDevice})
    EXPECT_FALSE(is_device_failure(bug)) << cudaGetErrorName(bug);
}

TEST(CudaStatus, NamesTheCallAndTheAnswerOfEveryLibrary) {
  EXPECT_THAT(std::string(to_status(CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul").message()),
              HasSubstr("cublasLtMatmul: CUBLAS_STATUS_NOT_SUPPORTED"));
  EXPECT_EQ(to_status(CUSOLVER_STATUS_INVALID_VALUE, "cusolverDnXsyevd").message(),
            "cusolverDnXsyevd: cuSOLVER status 3");
  EXPECT_EQ(to_status(cudaErrorMemoryAllocation, "cudaMalloc").code(), absl::StatusCode::kResourceExhausted);
}

TEST(CudaStatusDeathTest, AFailedDeviceEndsTheProcessWithItsOwnCodeAndABugAborts) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(require(cudaErrorECCUncorrectable, "cudaStreamSynchronize"), ExitedWithCode(kDeviceFailureExitCode),
              "the device failed: cudaStreamSynchronize: .*cudaErrorECCUncorrectable");
  EXPECT_DEATH(require(cudaErrorIllegalAddress, "cudaStreamSynchronize"), "check failed.*cudaErrorIllegalAddress");
}

TEST(CudaStatus, AnErrorThatWasToldIsNotLeftForALaterCall) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) GTEST_SKIP() << "this needs a GPU";
  EXPECT_FALSE(to_status(cudaMemset(nullptr, 0, 8), "cudaMemset").ok());
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

TEST(CudaStatusDeathTest, AnOldErrorOfTheRuntimeIsNotTheReasonOfALibrarysFailure) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) GTEST_SKIP() << "this needs a GPU";
  // An argument that is refused, and stays noted.
  EXPECT_DEATH(
      {
        (void)cudaMemset(nullptr, 0, 8);
        require(CUBLAS_STATUS_INVALID_VALUE, "cublasLtMatmul");
      },
      "check failed.*cublasLtMatmul.*perhaps of an earlier call");
}

TEST(CudaStatusDeathTest, WhoHandlesErrorsStillEndsWithTheCodeOfAFailedDevice) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(end_if_device_failed(cudaErrorNvlinkUncorrectable, "NCCL"), ExitedWithCode(kDeviceFailureExitCode),
              "the device failed: NCCL: .*cudaErrorNvlinkUncorrectable");
  for (const cudaError_t other : {cudaSuccess, cudaErrorNotReady, cudaErrorIllegalAddress})
    end_if_device_failed(other, "NCCL");
}

TEST(LaunchText, NamesKernelGridBlockAndSharedBytes) {
  EXPECT_EQ(
      launch_text("_ZN7galleon4cuda5clearEPfl", dim3(4, 2), dim3(256), 1024),
      "kernel galleon::cuda::clear(float*, long), grid 4x2x1, block 256x1x1, 1024 bytes of dynamic shared memory");
  EXPECT_THAT(launch_text("plain", 1, 1, 0), HasSubstr("kernel plain, grid 1x1x1"));
}

TEST(CudaDevice, WithoutAGpuItIsUnavailableInASentence) {
  if (cuda_device_count().ok()) GTEST_SKIP() << "this machine has a GPU";
  const absl::Status status = make_cuda_device(0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("use the CPU with resources.device: cpu"));
}

}  // namespace
}  // namespace galleon::cuda
