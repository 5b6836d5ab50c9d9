#include "kernels/cuda/status.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/device_failure.h"

namespace galleon::cuda {

namespace {

std::string version_text(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

std::string driver_advice() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    return "no NVIDIA driver is loaded on this machine; install one, or use the CPU with resources.device: cpu";
  }
  return absl::StrCat("the NVIDIA driver is too old: it serves CUDA ", version_text(driver), ", and this build needs ",
                      version_text(CUDART_VERSION),
                      "; install a newer driver, or use the CPU with resources.device: cpu");
}

std::string no_device_advice() {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return absl::StrCat("the driver shows no GPU to this process",
                      visible != nullptr ? absl::StrCat(", CUDA_VISIBLE_DEVICES is \"", visible, "\"") : "",
                      "; see nvidia-smi, or use the CPU with resources.device: cpu");
}

// A library's kernels fail for the runtime's reasons, and what has failed on the device shows when it is waited for.
// The runtime's last error may have been noted long before by a call that was free to fail, so it is told as that and
// is nobody's reason.
cudaError_t reason_behind(std::string& text) {
  const cudaError_t noted = cudaGetLastError();
  const cudaError_t now = cudaDeviceSynchronize();
  if (now != cudaSuccess) {
    absl::StrAppend(&text, "; ", to_status(now, "the runtime").message());
  } else if (noted != cudaSuccess) {
    absl::StrAppend(&text, "; the runtime had noted, perhaps of an earlier call: ", cudaGetErrorString(noted), " (",
                    cudaGetErrorName(noted), ")");
  }
  return now;
}

[[noreturn]] void fail(cudaError_t error, const std::string& text) {
  if (is_device_failure(error)) end_with_device_failure(text);
  GALLEON_CHECK(false) << text;
  std::abort();
}

}  // namespace

bool is_device_failure(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchTimeout:
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorInitializationError:
    case cudaErrorDeviceUninitialized:
    case cudaErrorMpsServerNotReady:
    case cudaErrorMpsConnectionFailed:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

std::string advice(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return driver_advice();
    case cudaErrorNoDevice:
      return no_device_advice();
    case cudaErrorDevicesUnavailable:
      return "another process holds the GPU for itself (its compute mode is exclusive); end that process, or set the "
             "mode to Default with nvidia-smi -c 0";
    case cudaErrorMemoryAllocation:
      return "the GPU's memory is used up; nvidia-smi shows who holds it";
    case cudaErrorNoKernelImageForDevice:
      return "this build has no code for this GPU's architecture; build with GALLEON_CUDA_ARCHITECTURES set to its "
             "compute capability";
    case cudaErrorECCUncorrectable:
    case cudaErrorContained:
      return "the GPU's memory has an uncorrectable error; it has to be reset, and replaced if this comes back";
    case cudaErrorNvlinkUncorrectable:
      return "the GPU's NVLink has an uncorrectable error; it has to be reset, and replaced if this comes back";
    case cudaErrorHardwareStackError:
      return "the GPU's hardware reports a broken stack; it has to be reset";
    case cudaErrorLaunchTimeout:
      return "the driver ended a kernel that ran too long, as it does on a GPU with a display; use one without";
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorInitializationError:
    case cudaErrorDeviceUninitialized:
      return "the driver cannot bring the GPU up; look at dmesg, and reboot after an update of the driver";
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return "the GPU does not answer any more; look at dmesg for Xid errors";
    default:
      return "";
  }
}

absl::Status to_status(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return absl::OkStatus();
  (void)cudaGetLastError();  // it is told here, and must not be told again of a later call
  const std::string more = advice(error);
  const std::string text = absl::StrCat(call, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")",
                                        more.empty() ? "" : ": ", more);
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(text);
  if (is_device_failure(error)) return absl::UnavailableError(text);
  return absl::InternalError(text);
}

absl::Status to_status(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  const std::string text = absl::StrCat(call, ": ", cublasGetStatusName(status), ", ", cublasGetStatusString(status));
  if (status == CUBLAS_STATUS_ALLOC_FAILED)
    return absl::ResourceExhaustedError(absl::StrCat(text, ": ", advice(cudaErrorMemoryAllocation)));
  return absl::InternalError(text);
}

absl::Status to_status(cusolverStatus_t status, const char* call) {
  if (status == CUSOLVER_STATUS_SUCCESS) return absl::OkStatus();
  const std::string text = absl::StrCat(call, ": cuSOLVER status ", static_cast<int>(status));
  if (status == CUSOLVER_STATUS_ALLOC_FAILED)
    return absl::ResourceExhaustedError(absl::StrCat(text, ": ", advice(cudaErrorMemoryAllocation)));
  return absl::InternalError(text);
}

void end_if_device_failed(cudaError_t error, const char* call) {
  if (is_device_failure(error)) end_with_device_failure(std::string(to_status(error, call).message()));
}

void require(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  fail(error, std::string(to_status(error, call).message()));
}

void require(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::string text(to_status(status, call).message());
  const cudaError_t reason = reason_behind(text);
  fail(reason, text);
}

void require(cusolverStatus_t status, const char* call) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  std::string text(to_status(status, call).message());
  const cudaError_t reason = reason_behind(text);
  fail(reason, text);
}

}  // namespace galleon::cuda
