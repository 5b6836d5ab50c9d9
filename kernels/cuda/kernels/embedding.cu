#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int count>
__global__ void embedding_kernel(int64_t tokens, int64_t pieces, const int32_t* __restrict__ ids,
                                 const T* __restrict__ table, int64_t ldt, T* __restrict__ x, int64_t ldx) {
  for (int64_t i = grid_thread(); i < tokens * pieces; i += grid_threads()) {
    const int64_t token = i / pieces;
    const int64_t column = (i - token * pieces) * count;
    store_piece(x + token * ldx + column, load_piece<count>(table + ids[token] * ldt + column));
  }
}

template <typename T>
void embedding(const Execution& on, int64_t tokens, int64_t hidden, const int32_t* ids, const T* table, int64_t ldt,
               T* x, int64_t ldx) {
  by_pieces<T>(hidden, {{table, ldt}, {x, ldx}}, [&]<int count>() {
    const int64_t pieces = hidden / count;
    launch<embedding_kernel<T, count>>(on, blocks_for(tokens * pieces, kThreads), kThreads, 0, tokens, pieces, ids,
                                       table, ldt, x, ldx);
  });
}

// order[p] ← the token at place p when tokens are sorted by id, those of one id in their own order: a token's place is
// the number of tokens before it in that order. Every thread counts for one token, over tiles of ids that its block
// shares; the work grows with the square of the tokens, 30 µs for 16,384 on an H100 by its instructions.
__global__ void sort_by_id_kernel(int64_t tokens, const int32_t* __restrict__ ids, int32_t* __restrict__ order) {
  __shared__ Pack<int32_t> tile[kThreads];
  constexpr int64_t kTile = kThreads * Pack<int32_t>::kCount;
  const int64_t token = grid_thread();
  const int32_t own = token < tokens ? ids[token] : 0;
  int32_t before = 0;
  for (int64_t start = 0; start < tokens; start += kTile) {
    __syncthreads();
    for (int j = 0; j < Pack<int32_t>::kCount; ++j) {
      const int64_t at = start + static_cast<int64_t>(threadIdx.x) * Pack<int32_t>::kCount + j;
      // What lies beyond the tokens comes after all of them.
      tile[threadIdx.x].value[j] = at < tokens ? ids[at] : INT32_MAX;
    }
    __syncthreads();
    if (start + kTile <= token || start > token) {
      // A whole tile before the token counts with the same id too, one behind it without.
      const int32_t limit = start > token ? own : own + 1;
      for (int i = 0; i < kThreads; ++i) {
        const Pack<int32_t> others = tile[i];
        for (int j = 0; j < Pack<int32_t>::kCount; ++j) before += others.value[j] < limit ? 1 : 0;
      }
    } else {
      for (int i = 0; i < kThreads; ++i) {
        const Pack<int32_t> others = tile[i];
        for (int j = 0; j < Pack<int32_t>::kCount; ++j) {
          const int32_t limit = start + i * Pack<int32_t>::kCount + j < token ? own + 1 : own;
          before += others.value[j] < limit ? 1 : 0;
        }
      }
    }
  }
  if (token < tokens) order[before] = static_cast<int32_t>(token);
}

constexpr int kStrip = 128;  // threads of a block, side by side over the columns
constexpr int kAhead = 8;    // rows that are on their way before the first is added

// Block (p, strip): if the p-th token of the order is the first of its id, the rows of all tokens of that id are added
// to the id's row, in order.
template <typename T, int count>
__global__ void embedding_backward_kernel(int64_t tokens, int64_t hidden, const int32_t* __restrict__ ids,
                                          const int32_t* __restrict__ order, const T* __restrict__ dx, int64_t lddx,
                                          float* __restrict__ dtable, int64_t ldt) {
  const int64_t place = blockIdx.x;
  const int32_t id = ids[order[place]];
  if (place > 0 && ids[order[place - 1]] == id) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kStrip + threadIdx.x) * count;
  if (column >= hidden) return;
  float* at = dtable + id * ldt + column;
  Piece<float, count> sum = load_piece<count>(at);
  bool more = true;
  for (int64_t p = place; more; p += kAhead) {
    // Rows of other ids are read in vain at the end of the run.
    Piece<T, count> rows[kAhead];
    bool own[kAhead];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int64_t token = order[p + a < tokens ? p + a : tokens - 1];
      own[a] = p + a < tokens && ids[token] == id;
      rows[a] = load_piece<count>(dx + token * lddx + column);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      more = more && own[a];
      if (!more) break;
#pragma unroll
      for (int j = 0; j < count; ++j) sum.value[j] += math::load(rows[a].value[j]);
    }
  }
  store_piece(at, sum);
}

template <typename T>
void embedding_backward(const Execution& on, int64_t tokens, int64_t hidden, const int32_t* ids, const T* dx,
                        int64_t lddx, float* dtable, int64_t ldt, void* scratch) {
  auto* order = static_cast<int32_t*>(scratch);
  launch<sort_by_id_kernel>(on, dim3(static_cast<unsigned>((tokens + kThreads - 1) / kThreads)), kThreads, 0, tokens,
                            ids, order);
  const bool table_aligned = reinterpret_cast<uintptr_t>(dtable) % 16 == 0 && ldt % Pack<float>::kCount == 0;
  const auto sum_rows = [&]<int count>() {
    const int64_t strips = (hidden + int64_t{kStrip} * count - 1) / (int64_t{kStrip} * count);
    launch<embedding_backward_kernel<T, count>>(on, dim3(static_cast<unsigned>(tokens), static_cast<unsigned>(strips)),
                                                kStrip, 0, tokens, hidden, ids, order, dx, lddx, dtable, ldt);
  };
  by_pieces<T>(hidden, {{dx, lddx}}, [&]<int count>() {
    if (table_aligned) {
      sum_rows.template operator()<count>();
    } else {
      sum_rows.template operator()<1>();
    }
  });
}

__global__ void no_index_kernel(unsigned long long* found) {
  *found = ~0ULL;
}

__global__ void first_outside_kernel(int64_t count, const int32_t* __restrict__ ids, int64_t low, int64_t high,
                                     unsigned long long* found) {
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    if (ids[i] < low || ids[i] >= high) {
      // The first that a thread meets is the lowest it can offer.
      atomicMin(found, static_cast<unsigned long long>(i));
      return;
    }
  }
}

int64_t first_outside(const Execution& on, int64_t count, const int32_t* ids, int64_t low, int64_t high) {
  auto* found = result_slot<unsigned long long>(on);
  launch<no_index_kernel>(on, 1, 1, 0, found);
  launch<first_outside_kernel>(on, blocks_for(count, kThreads), kThreads, 0, count, ids, low, high, found);
  return static_cast<int64_t>(read_back(on, found));
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.embedding = embedding<T>;
  table.embedding_backward = embedding_backward<T>;
  table.embedding_backward_workspace = embedding_backward_workspace;
}

}  // namespace

void fill_embedding(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.first_outside = first_outside;
}

}  // namespace galleon::cuda
