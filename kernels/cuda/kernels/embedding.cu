#include "kernels/cuda/kernels/kernels.h"
#include "kernels/cuda/kernels/packs.h"
#include "kernels/cuda/kernels/scratch_sizes.h"
#include "kernels/cuda/kernels/token_order.h"
#include "kernels/cuda/launch.h"

namespace galleon::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int count>
__global__ void embedding_kernel(int64_t tokens, int64_t pieces, int64_t vocabulary, const int32_t* __restrict__ ids,
                                 const T* __restrict__ table, int64_t ldt, T* __restrict__ x, int64_t ldx) {
  for (int64_t i = grid_thread(); i < tokens * pieces; i += grid_threads()) {
    const int64_t token = i / pieces;
    const int64_t column = (i - token * pieces) * count;
    store_piece(x + token * ldx + column, load_piece<count>(table + id_in(ids[token], vocabulary) * ldt + column));
  }
}

template <typename T>
void embedding(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary, const int32_t* ids,
               Matrix<const T> table, Matrix<T> x) {
  by_pieces<T>(hidden, {table, x}, [&]<int count>() {
    const int64_t pieces = hidden / count;
    launch<embedding_kernel<T, count>>(on, blocks_for(tokens * pieces, kThreads), kThreads, 0, tokens, pieces,
                                       vocabulary, ids, table.data, table.stride, x.data, x.stride);
  });
}

constexpr int kStrip = 128;  // threads of a block, side by side over the columns
constexpr int kAhead = 8;    // rows that are on their way before the first is added

// Block (p, strip): if the p-th token of the order is the first of its id, the rows of all tokens of that id are added
// to the id's row, in order.
template <typename T, int count>
__global__ void embedding_backward_kernel(int64_t tokens, int64_t hidden, int64_t vocabulary,
                                          const int32_t* __restrict__ ids, const int32_t* __restrict__ order,
                                          const T* __restrict__ dx, int64_t lddx, float* __restrict__ dtable,
                                          int64_t ldt) {
  const int64_t place = blockIdx.x;
  const int64_t id = id_in(ids[order[place]], vocabulary);
  if (place > 0 && id_in(ids[order[place - 1]], vocabulary) == id) return;
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
      own[a] = p + a < tokens && id_in(ids[token], vocabulary) == id;
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
void embedding_backward(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary, const int32_t* ids,
                        Matrix<const T> dx, Matrix<float> dtable, void* scratch) {
  const int32_t* order = order_by_id(on, tokens, vocabulary, ids, scratch);
  const auto sum_rows = [&]<int count>() {
    const int64_t strips = (hidden + int64_t{kStrip} * count - 1) / (int64_t{kStrip} * count);
    launch<embedding_backward_kernel<T, count>>(on, dim3(static_cast<unsigned>(tokens), static_cast<unsigned>(strips)),
                                                kStrip, 0, tokens, hidden, vocabulary, ids, order, dx.data, dx.stride,
                                                dtable.data, dtable.stride);
  };
  by_pieces<T>(hidden, {dx}, [&]<int count>() {
    if (rows_aligned(2, dtable)) {
      sum_rows.template operator()<count>();
    } else {
      sum_rows.template operator()<1>();
    }
  });
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
}

}  // namespace galleon::cuda
