// How host code starts a kernel, and how it reads one number back. Under nvcc on the stream of the device's context;
// in the tests' executor at once, on the CPU.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/simt.h"
#include "kernels/math/multiples.h"
#include "kernels/operation_table.h"

#ifdef __CUDACC__
#include "kernels/cuda/context.h"
#endif

namespace galleon::cuda {

// Blocks of `threads` threads that cover `work` items, at most as many as keep a GPU busy: kernels loop over the rest.
inline dim3 blocks_for(int64_t work, int64_t items_per_block) {
  constexpr int64_t kMost = 132 * 16;  // of the largest GPU that we know, several waves
  const int64_t wanted = ceil_div(work, items_per_block);
  return dim3(static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, kMost)));
}

// Runs `kernel` with `shared` bytes of dynamic shared memory. Arguments are converted to the kernel's own types, so
// that the address of each is that of what the kernel takes.
template <auto kernel, typename... Parameters>
void launch_as(void (*)(Parameters...), const Execution& on, dim3 grid, dim3 block, size_t shared,
               std::type_identity_t<Parameters>... arguments) {
#ifdef __CUDACC__
  void* addresses[] = {static_cast<void*>(&arguments)..., nullptr};
  launch_on(*on.cuda, reinterpret_cast<const void*>(kernel), grid, block, addresses, shared);
#else
  executor::run(on.cuda, grid, block, shared, [&] { kernel(arguments...); });
#endif
}
template <auto kernel, typename... Arguments>
void launch(const Execution& on, dim3 grid, dim3 block, size_t shared, Arguments... arguments) {
  launch_as<kernel>(kernel, on, grid, block, shared, arguments...);
}

// Waits for everything before it and returns what lies at `on_device`. Ends the process if an index was noted that is
// outside of its range.
template <typename T>
T read_back(const Execution& on, const T* on_device) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
#ifdef __CUDACC__
  download_now(*on.cuda, &value, on_device, sizeof(T));
#else
  executor::read(on.cuda, &value, on_device, sizeof(T));
#endif
  return value;
}

// 64 bytes of device memory for a result that read_back takes at once; zeroed by nobody.
template <typename T>
T* result_slot(const Execution& on) {
  static_assert(sizeof(T) <= 64);
#ifdef __CUDACC__
  return static_cast<T*>(result_memory(*on.cuda));
#else
  return static_cast<T*>(executor::result_memory(on.cuda));
#endif
}

// Where kernels note what read_back tells of. Kernels may write it; the host looks once it has waited.
inline OutsideNote* outside_note(const Execution& on) {
#ifdef __CUDACC__
  return note_memory(*on.cuda);
#else
  return executor::note_memory(on.cuda);
#endif
}

// Copies host memory into device memory before anything that is launched later; the host's memory may go at once.
inline void write_ahead(const Execution& on, void* on_device, const void* from, size_t bytes) {
#ifdef __CUDACC__
  upload_now(*on.cuda, on_device, from, bytes);
#else
  executor::copy(on.cuda, on_device, from, bytes);
#endif
}

}  // namespace galleon::cuda
