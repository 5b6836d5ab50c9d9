// What the functions of the CUDA device's table run on: one stream, on which everything is ordered, and what belongs to
// it. This header is seen by kernels too, so it names neither libraries nor status types.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace galleon {
struct OutsideNote;
}

namespace galleon::cuda {

struct Context;

cudaStream_t stream_of(Context& context);
// 64 bytes of device memory for a result that is read at once.
void* result_memory(Context& context);
// Host memory that kernels can write: see OutsideNote in kernels/operation_table.h.
OutsideNote* note_memory(Context& context);
// Starts a kernel on the stream; `arguments` are addresses of its parameters. More dynamic shared memory than 48 KiB is
// asked for on the kernel's first launch.
void launch_on(Context& context, const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared_bytes);
// Copies ordered on the stream, through pinned memory. A download returns when the bytes are there, and ends
// the process if an index outside of its range was noted; an upload when `from` may be reused.
void download_now(Context& context, void* to, const void* on_device, size_t bytes);
void upload_now(Context& context, void* on_device, const void* from, size_t bytes);

}  // namespace galleon::cuda
