// The context from inside: for the files of the device that call CUDA's libraries.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/handles.h"
#include "kernels/cuda/product_cache.h"

namespace galleon::cuda {

// Two pinned pieces through which copies between pageable host memory and the device go in turns, so that one is
// filled or emptied while the other is under way.
class Staging {
 public:
  static constexpr size_t kPieceBytes = size_t{4} << 20;

  absl::Status open();
  void upload(cudaStream_t stream, void* on_device, const void* from, size_t bytes);
  void download(cudaStream_t stream, void* to, const void* on_device, size_t bytes);

 private:
  struct Piece {
    PinnedMemory memory;
    Event free;  // recorded behind the copy that used it last
  };
  Piece& next();
  Piece pieces_[2];
  int turn_ = 0;
};

struct Context {
  // Opens the GPU of that index. UNAVAILABLE: no driver, one too old, no such GPU, or one that does not answer.
  static absl::StatusOr<std::unique_ptr<Context>> open(int index);

  // Makes the GPU the calling thread's. CUDA keeps it by thread.
  void use() const;

  // With GALLEON_CUDA_SYNCHRONOUS=1: waits for what was launched last, and ends the process with `what` where that has
  // failed or does not end. Otherwise nothing.
  void settle(absl::FunctionRef<std::string()> what) const;

  int index = 0;
  bool synchronous = false;
  Stream stream;
  Staging staging;
  DeviceMemory result;
  PinnedMemory note;  // an OutsideNote
  DeviceMemory blas_workspace;
  BlasHandle blas;  // for double precision within decompositions
  BlasLtHandle blas_lt;
  SolverHandle solver;
  SolverParameters solver_parameters;
  std::vector<char> solver_host;  // of calls that may not have ended; see SolverSpace
  ProductCache products;
  std::unordered_set<const void*> large_kernels;  // that were told of their shared memory
};

// Of the BLAS handle, so that it takes none by itself in the middle of a step.
inline constexpr size_t kBlasWorkspaceBytes = size_t{8} << 20;

}  // namespace galleon::cuda
