// In place of the real one, in builds without CUDA.
#include "worker/engine/ranks/nccl_api.h"

namespace galleon {

absl::StatusOr<std::unique_ptr<NcclApi>> make_nccl_api(void*) {
  return absl::UnimplementedError("this build of Galleon has no CUDA and so no NCCL");
}

}  // namespace galleon
