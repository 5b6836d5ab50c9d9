// Ids, targets and lengths that lie outside of where an operation may use them.
#include <climits>

#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 512;

__device__ __forceinline__ bool outside(int32_t id, int64_t low, int64_t high) {
  return id < low || id >= high;
}

// The lowest index of a number outside [low, high), LLONG_MAX if there is none; thread 0 of the one block gets it.
__device__ long long lowest_outside(int64_t count, const int32_t* ids, int64_t low, int64_t high) {
  __shared__ long long lowest[kThreads];
  const auto t = static_cast<int>(threadIdx.x);
  lowest[t] = LLONG_MAX;
  for (int64_t i = t; i < count; i += kThreads) {
    if (!outside(ids[i], low, high)) continue;
    lowest[t] = i;  // the first that a thread meets is the lowest it can offer
    break;
  }
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half && lowest[t + half] < lowest[t]) lowest[t] = lowest[t + half];
  }
  return lowest[0];
}

__global__ void first_outside_kernel(int64_t count, const int32_t* __restrict__ ids, int64_t low, int64_t high,
                                     long long* first) {
  const long long lowest = lowest_outside(count, ids, low, high);
  if (threadIdx.x == 0) *first = lowest;
}

// The note is the host's memory, which is not touched unless there is something to note.
__global__ void note_outside_kernel(int64_t count, const int32_t* __restrict__ ids, IndexRange range,
                                    OutsideNote* note) {
  const long long lowest = lowest_outside(count, ids, range.low, range.high);
  if (threadIdx.x != 0 || lowest == LLONG_MAX || note->found) return;
  *note = OutsideNote{range, lowest, ids[lowest], true};
}

int64_t first_outside(const Execution& on, int64_t count, const int32_t* ids, int64_t low, int64_t high) {
  auto* first = result_slot<long long>(on);
  launch<first_outside_kernel>(on, dim3(1), kThreads, 0, count, ids, low, high, first);
  const long long found = read_back(on, first);
  return found == LLONG_MAX ? -1 : found;
}

void note_outside(const Execution& on, int64_t count, const int32_t* ids, const IndexRange& range) {
  launch<note_outside_kernel>(on, dim3(1), kThreads, 0, count, ids, range, outside_note(on));
}

}  // namespace

void fill_index_check(OperationTable& table) {
  table.first_outside = first_outside;
  table.note_outside = note_outside;
}

}  // namespace galleon::cuda
