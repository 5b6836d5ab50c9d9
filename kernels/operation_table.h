// The table through which the wrappers in ops/ reach a device: plain function pointers over addresses and sizes, so
// that this header holds no code and can be included by files compiled for other instruction sets.
//
// Matrices are row-major with a row stride in elements (`ld…`). `scratch` points at the bytes that the function's
// `…_workspace` asks for; these sizes depend on shapes alone, never on values or threads. Aliasing is as ops/*.h say.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/math/bfloat16.h"

namespace galleon {

namespace cpu {
class ProductCache;
}
namespace cuda {
struct Context;
}

// Where an operation runs.
struct Execution {
  int threads = 1;
  cpu::ProductCache* products = nullptr;  // of the device; only products in bf16 on a CPU use it
  cuda::Context* cuda = nullptr;          // of a CUDA device: its stream and the handles of libraries
};

// Where sequences lie, which keys a query of attention sees, and which of their probabilities are dropped.
struct AttentionSight {
  bool causal = true;
  int64_t window = 0;                // keys that a query sees, its own included; 0: all
  // Sequence s is the rows row_starts[s] to row_starts[s + 1]; null: `sequence` rows from s·sequence on.
  const int32_t* row_starts = nullptr;
  int64_t rows = 0;  // where they must end
  // Probability (sequence s, head h, query i, key j) is word first + ((s·heads + h)·span + i)·span + j of the random
  // stream; a word below the threshold drops it. 0: nothing is dropped.
  uint32_t threshold = 0;
  float scale = 1;  // on what is kept
  uint64_t seed = 0;
  uint64_t stream = 0;
  int64_t first = 0;
  int64_t span = 0;
};

// Where whole numbers that serve as indices must lie, low ≤ x < high, and the words that say so: `number` VALUE of
// `place` INDEX is outside `range` `stated`. Texts are literals.
struct IndexRange {
  const char* number;  // "embedding: id"
  const char* place;   // "token"
  const char* range;   // "a vocabulary of"
  int64_t stated;
  int64_t low;
  int64_t high;
};

// The first number outside of its range that a device has met and not told of yet.
struct OutsideNote {
  IndexRange range;
  int64_t index;
  int32_t value;
  bool found;
};

// Operations over fp32 or bf16 numbers. Arithmetic is in fp32 either way; a result is rounded once, when it is stored.
template <typename T>
struct FloatOperations {
  // linear
  void (*matmul)(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                 const T* a, int64_t lda, const T* b, int64_t ldb, float beta, T* c, int64_t ldc, void* scratch);
  void (*matmul_to_fp32)(const Execution& on, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                         float alpha, const T* a, int64_t lda, const T* b, int64_t ldb, float beta, float* c,
                         int64_t ldc, void* scratch);
  int64_t (*matmul_workspace)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k);

  // norm; delta may be null
  void (*rms_norm)(const Execution& on, int64_t rows, int64_t n, T* x, int64_t ldx, const T* delta, int64_t ldd,
                   const T* weight, float epsilon, T* y, int64_t ldy, float* inverse_rms);
  void (*rms_norm_again)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, const T* weight,
                         const float* inverse_rms, T* y, int64_t ldy);
  void (*rms_norm_backward)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, const T* weight,
                            const float* inverse_rms, const T* dy, int64_t lddy, T* dx, int64_t lddx, float* dweight,
                            void* scratch);
  int64_t (*rms_norm_backward_workspace)(int64_t rows, int64_t n);

  // layer norm; delta, dweight and dbias may be null; statistics: a mean and an inverse root for each row
  void (*layer_norm)(const Execution& on, int64_t rows, int64_t n, T* x, int64_t ldx, const T* delta, int64_t ldd,
                     const T* weight, const T* bias, float epsilon, T* y, int64_t ldy, float* statistics);
  void (*layer_norm_again)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, const T* weight,
                           const T* bias, const float* statistics, T* y, int64_t ldy);
  void (*layer_norm_backward)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, const T* weight,
                              const float* statistics, const T* dy, int64_t lddy, T* dx, int64_t lddx, float* dweight,
                              float* dbias, void* scratch);
  int64_t (*layer_norm_backward_workspace)(int64_t rows, int64_t n);

  // bias
  void (*add_bias)(const Execution& on, int64_t rows, int64_t n, const T* bias, T* y, int64_t ldy);
  void (*bias_backward)(const Execution& on, int64_t rows, int64_t n, const T* dy, int64_t ldy, float* dbias);

  // activation
  void (*swiglu)(const Execution& on, int64_t rows, int64_t n, const T* gate, int64_t ldg, const T* up, int64_t ldu,
                 T* out, int64_t ldo);
  void (*swiglu_backward)(const Execution& on, int64_t rows, int64_t n, const T* gate, int64_t ldg, const T* up,
                          int64_t ldu, const T* dout, int64_t lddo, T* dgate, int64_t lddg, T* dup, int64_t lddu);
  void (*gelu)(const Execution& on, int64_t rows, int64_t n, bool tanh_form, const T* x, int64_t ldx, T* y,
               int64_t ldy);
  void (*gelu_backward)(const Execution& on, int64_t rows, int64_t n, bool tanh_form, const T* x, int64_t ldx,
                        const T* dy, int64_t lddy, T* dx, int64_t lddx);
  void (*hyperbolic_tangent)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, T* y, int64_t ldy);
  void (*hyperbolic_tangent_backward)(const Execution& on, int64_t rows, int64_t n, const T* y, int64_t ldy,
                                      const T* dy, int64_t lddy, T* dx, int64_t lddx);
  void (*add)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, T* y, int64_t ldy);
  void (*fill)(const Execution& on, int64_t rows, int64_t n, T* x, int64_t ldx, float value);
  void (*transpose)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, T* y, int64_t ldy);
  void (*from_fp32)(const Execution& on, int64_t rows, int64_t n, const float* x, int64_t ldx, T* y, int64_t ldy);
  void (*to_fp32)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, float* y, int64_t ldy);

  // row_numbers: null where they are 0, 1, 2, …
  void (*dropout)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, uint64_t seed, uint64_t stream,
                  int64_t first, const int32_t* row_numbers, uint32_t threshold, float scale, T* y, int64_t ldy);

  // attention; head h of q begins at column h·dimension, its keys and values at (h / (heads / kv_heads))·dimension
  void (*rotary)(const Execution& on, int64_t tokens, int64_t sequence, int64_t heads, int64_t dimension, T* x,
                 int64_t ldx, const float* table, int64_t ldt, bool backward);
  void (*attention)(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                    int64_t dimension, const AttentionSight& sight, const T* q, int64_t ldq, const T* k, int64_t ldk,
                    const T* v, int64_t ldv, T* out, int64_t ldo, float* log_sum);
  // of each sequence's last position, over the keys from `first` on; scratch: batch·heads·sequence fp32 numbers
  void (*attention_of_last)(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                            int64_t dimension, int64_t first, const T* q, int64_t ldq, const T* k, int64_t ldk,
                            const T* v, int64_t ldv, T* out, int64_t ldo, void* scratch);
  void (*attention_backward)(const Execution& on, int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                             int64_t dimension, const AttentionSight& sight, const T* q, int64_t ldq, const T* k,
                             int64_t ldk, const T* v, int64_t ldv, const T* out, int64_t ldo, const float* log_sum,
                             const T* dout, int64_t lddo, T* dq, int64_t lddq, T* dk, int64_t lddk, T* dv, int64_t lddv,
                             void* scratch);
  int64_t (*attention_backward_workspace)(int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                                          int64_t dimension);

  // embedding; a device that tells of an id outside the vocabulary later takes it for 0
  void (*embedding)(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary, const int32_t* ids,
                    const T* table, int64_t ldt, T* x, int64_t ldx);
  void (*embedding_backward)(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary,
                             const int32_t* ids, const T* dx, int64_t lddx, float* dtable, int64_t ldt, void* scratch);
  int64_t (*embedding_backward_workspace)(int64_t tokens);

  // loss; the gradient may lie over the logits, row over row
  void (*cross_entropy)(const Execution& on, int64_t rows, int64_t n, float* logits, int64_t ldl,
                        const int32_t* targets, float scale, float* losses, T* gradient, int64_t ldg);

  // weight update: back = update·basisᵀ or the update itself; master may be null; noise rounds a bf16 weight without
  // one
  void (*apply)(const Execution& on, int64_t rows, int64_t n, const float* back, int64_t ldb, float step, float keep,
                T* weight, int64_t ldw, float* master, int64_t ldm, uint64_t noise, int64_t first_row);

  // reductions
  bool (*all_finite)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx);
  double (*sum_of_squares)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, void* scratch);
  // The same into the device's memory.
  void (*note_sum_of_squares)(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, double* to,
                              void* scratch);
};

struct OperationTable {
  FloatOperations<float> f32;
  FloatOperations<BFloat16> bf16;

  void (*copy_bytes)(const Execution& on, int64_t rows, int64_t row_bytes, const char* x, int64_t stride_x, char* y,
                     int64_t stride_y);
  // frequencies: dimension/2 numbers on the host
  void (*rotary_table)(const Execution& on, int64_t sequence, int64_t dimension, const double* frequencies,
                       double factor, float* table, int64_t ldt);
  // The first index of an id outside [low, high), or -1.
  int64_t (*first_outside)(const Execution& on, int64_t count, const int32_t* ids, int64_t low, int64_t high);
  // The same without waiting for it: the first one is noted, and told of when the host next reads anything from the
  // device. Null where nothing has to be waited for.
  void (*note_outside)(const Execution& on, int64_t count, const int32_t* ids, const IndexRange& range);
  void (*cross_entropy_forward)(const Execution& on, int64_t rows, int64_t n, const float* logits, int64_t ldl,
                                const int32_t* targets, float* losses);
  void (*squared_error)(const Execution& on, int64_t rows, const float* outputs, int64_t ldo, const float* labels,
                        float scale, float* losses, float* gradient, int64_t ldg);

  // optimizer
  void (*adam_update)(const Execution& on, int64_t size, float beta1, float beta2, float epsilon, float gradient_scale,
                      float* r, float* m, float* v);
  void (*adam8bit_update)(const Execution& on, int64_t size, int64_t block, float beta1, float beta2, float epsilon,
                          float gradient_scale, float* r, uint8_t* m_codes, float* m_scales, uint8_t* v_codes,
                          float* v_scales);
  void (*momentum_update)(const Execution& on, int64_t size, float momentum, float gradient_scale, float* r,
                          float* buffer);
  void (*scale)(const Execution& on, int64_t size, float factor, const float* x, float* y);
  void (*square)(const Execution& on, int64_t size, const float* x, float* y);

  // adafactor; all without gaps, m may be null
  void (*adafactor_sums)(const Execution& on, int64_t rows, int64_t n, float beta2, float epsilon, float gradient_scale,
                         const float* r, float* row_factors, float* sums, void* scratch);
  int64_t (*adafactor_sums_workspace)(int64_t rows, int64_t n);
  void (*adafactor_update)(const Execution& on, int64_t rows, int64_t n, int64_t all_rows, float beta1, float beta2,
                           float gradient_scale, float learning_rate, float clip, float* r, const float* row_factors,
                           float* column_factors, const float* sums, float* m, void* scratch);
  int64_t (*adafactor_update_workspace)(int64_t n);
  void (*adafactor_vector_sums)(const Execution& on, int64_t n, float beta2, float epsilon, float gradient_scale,
                                const float* r, float* v, float* sums);
  void (*adafactor_vector_update)(const Execution& on, int64_t n, int64_t all, float beta1, float gradient_scale,
                                  float learning_rate, float clip, float* r, const float* v, const float* sums,
                                  float* m);

  // quantize; all without gaps
  void (*encode_moment)(const Execution& on, bool is_signed, int64_t size, int64_t block, const float* x,
                        uint8_t* codes, float* scales);
  void (*decode_moment)(const Execution& on, bool is_signed, int64_t size, int64_t block, const uint8_t* codes,
                        const float* scales, float* x);
  void (*encode_basis)(const Execution& on, int bits, int64_t size, int64_t block, const float* x, uint8_t* codes,
                       float* scales);
  void (*decode_basis)(const Execution& on, int bits, int64_t size, int64_t block, const uint8_t* codes,
                       const float* scales, float* x);

  // reductions
  double (*sum)(const Execution& on, int64_t rows, int64_t n, const float* x, int64_t ldx, void* scratch);
  int64_t (*sum_workspace)(int64_t rows, int64_t n);
  uint64_t (*hash_bytes)(const Execution& on, const void* data, int64_t bytes, void* scratch);
  int64_t (*hash_bytes_workspace)(int64_t bytes);
  void (*fill_normal)(const Execution& on, int64_t size, float* x, uint64_t seed, uint64_t stream, int64_t first,
                      float mean, float deviation);

  // linalg; g is destroyed; false: the solver did not converge. Inputs are finite: the wrapper looks.
  bool (*right_singular_vectors)(const Execution& on, int64_t rows, int64_t columns, int64_t rank, float* g,
                                 int64_t ldg, float* basis, int64_t ldb, void* scratch);
  int64_t (*right_singular_vectors_workspace)(int64_t rows, int64_t columns, int64_t rank);
  bool (*orthonormalize)(const Execution& on, int64_t rows, int64_t rank, float* y, int64_t ldy, uint64_t seed,
                         void* scratch);
  int64_t (*orthonormalize_workspace)(int64_t rows, int64_t rank);
};

}  // namespace galleon
