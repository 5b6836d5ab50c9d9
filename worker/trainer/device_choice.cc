#include "worker/trainer/device_choice.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "kernels/cpu/processor.h"
#include "kernels/cuda/devices.h"

namespace galleon {

std::string device_kind(const DeviceRequest& request, std::string* why) {
  if (request.wanted == v1::Resources::DEVICE_CPU) return "cpu";
  if (request.wanted == v1::Resources::DEVICE_CUDA) return "cuda";
  const absl::StatusOr<int> gpus = cuda_device_count();
  if (absl::IsUnimplemented(gpus.status())) return "cpu";  // where CUDA was not built in, nobody expects a GPU
  if (gpus.ok() && *gpus >= request.local_ranks) return "cuda";
  if (why != nullptr) {
    *why = gpus.ok() ? absl::StrCat("there are ", *gpus, *gpus == 1 ? " GPU" : " GPUs", " for ", request.local_ranks,
                                    " ranks")
                     : std::string(gpus.status().message());
  }
  return "cpu";
}

void tell_processor(const std::function<void(const std::string& what, const std::string& text)>& tell) {
  const cpu::ProcessorFacts facts = cpu::processor_facts();
  tell("processor", facts.line());
  for (const std::string& warning : facts.warnings()) tell("warning", warning);
}

absl::StatusOr<std::unique_ptr<Device>> open_device(const DeviceRequest& request) {
  std::string why;
  if (device_kind(request, &why) == "cpu") {
    if (!why.empty()) log_info("computes on the CPU: ", why);
    return make_cpu_device(request.threads);
  }
  return make_cuda_device(request.local_rank);
}

v1::Resources::Device device_of_word(const std::string& word) {
  if (word == "cpu") return v1::Resources::DEVICE_CPU;
  if (word == "cuda") return v1::Resources::DEVICE_CUDA;
  GALLEON_CHECK(word == "auto") << "device " << word;
  return v1::Resources::DEVICE_AUTO;
}

}  // namespace galleon
