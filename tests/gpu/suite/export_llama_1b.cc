#include <cstdio>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/export.h"
#include "tests/gpu/suite/parts.h"

namespace galleon::gpu {

int export_llama_1b(const std::string& folder) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  ModelConfig config = *model_preset("llama-1b");
  config.vocabulary = 32000;
  const absl::Status written = export_step(export_shape(config, 512, 2), *std::move(device), folder);
  if (!written.ok()) std::printf("%s\n", written.ToString().c_str());
  return written.ok() ? 0 : 1;
}

}  // namespace galleon::gpu
