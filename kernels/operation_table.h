// The table through which the wrappers in ops/ reach a device: plain function pointers over addresses and sizes, so
// that this header holds no code and can be included by files compiled for other instruction sets.
//
// `scratch` points at the bytes that the function's `…_workspace` asks for; these sizes depend on shapes alone, never
// on values or threads. Aliasing is as ops/*.h say.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/operation_arguments.h"

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
  void (*matmul)(const Execution& on, const Product<T, T>& product, void* scratch);
  void (*matmul_to_fp32)(const Execution& on, const Product<T, float>& product, void* scratch);
  int64_t (*matmul_workspace)(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k);

  // norm
  void (*rms_norm)(const Execution& on, const RmsNorm<T>& args);
  void (*rms_norm_recompute)(const Execution& on, const RmsNormRecompute<T>& args);
  void (*rms_norm_backward)(const Execution& on, const RmsNormBackward<T>& args, void* scratch);
  int64_t (*rms_norm_backward_workspace)(int64_t rows, int64_t n);

  // layer norm
  void (*layer_norm)(const Execution& on, const LayerNorm<T>& args);
  void (*layer_norm_recompute)(const Execution& on, const LayerNormRecompute<T>& args);
  void (*layer_norm_backward)(const Execution& on, const LayerNormBackward<T>& args, void* scratch);
  int64_t (*layer_norm_backward_workspace)(int64_t rows, int64_t n);

  // bias (n), y and dy (rows, n), dbias (n)
  void (*add_bias)(const Execution& on, int64_t rows, int64_t n, const T* bias, Matrix<T> y);
  void (*bias_backward)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> dy, float* dbias);

  // activation; all operands (rows, n), but transpose's y (n, rows)
  void (*swiglu)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> gate, Matrix<const T> up, Matrix<T> out);
  void (*swiglu_backward)(const Execution& on, const SwigluBackward<T>& args);
  void (*gelu)(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x, Matrix<T> y);
  void (*gelu_backward)(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x,
                        Matrix<const T> dy, Matrix<T> dx);
  void (*hyperbolic_tangent)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y);
  void (*hyperbolic_tangent_backward)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> y,
                                      Matrix<const T> dy, Matrix<T> dx);
  void (*add)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y);
  void (*fill)(const Execution& on, int64_t rows, int64_t n, Matrix<T> x, float value);
  void (*transpose)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y);
  void (*from_fp32)(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, Matrix<T> y);
  void (*to_fp32)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<float> y);
  void (*dropout)(const Execution& on, const Dropout<T>& args);

  // attention
  void (*rotary)(const Execution& on, const Rotary<T>& args);
  void (*attention)(const Execution& on, const AttentionForward<T>& args);
  void (*attention_of_last)(const Execution& on, const AttentionOfLast<T>& args);
  void (*attention_backward)(const Execution& on, const AttentionBackward<T>& args);
  int64_t (*attention_backward_workspace)(int64_t batch, int64_t sequence, int64_t heads, int64_t kv_heads,
                                          int64_t dimension);

  // embedding: ids (tokens), table (vocabulary, hidden), x and dx (tokens, hidden); a device that tells of an id
  // outside the vocabulary later takes it for 0
  void (*embedding)(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary, const int32_t* ids,
                    Matrix<const T> table, Matrix<T> x);
  void (*embedding_backward)(const Execution& on, int64_t tokens, int64_t hidden, int64_t vocabulary,
                             const int32_t* ids, Matrix<const T> dx, Matrix<float> dtable, void* scratch);
  int64_t (*embedding_backward_workspace)(int64_t tokens);

  void (*cross_entropy)(const Execution& on, const CrossEntropy<T>& args);

  // weight update
  void (*apply)(const Execution& on, const ApplyUpdate<T>& args);

  // reductions of x (rows, n)
  bool (*all_finite)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x);
  double (*sum_of_squares)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, void* scratch);
  // The same into the device's memory.
  void (*note_sum_of_squares)(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, double* to,
                              void* scratch);
};

struct OperationTable {
  // How much of what passes from one operation to the next exists at a time. A CPU's caches hold little; a GPU's
  // multiprocessors are idle, and each call costs as much as a call, where there is little.
  int64_t panel_bytes = int64_t{2} << 20;   // an update in fp32, of some rows of a matrix
  int64_t logit_bytes = int64_t{48} << 20;  // logits in fp32, of some tokens

  FloatOperations<float> f32;
  FloatOperations<BFloat16> bf16;

  // x, y: (rows, row_bytes)
  void (*copy_bytes)(const Execution& on, int64_t rows, int64_t row_bytes, Matrix<const char> x, Matrix<char> y);
  // frequencies: dimension/2 numbers on the host; table (sequence, dimension)
  void (*rotary_table)(const Execution& on, int64_t sequence, int64_t dimension, const double* frequencies,
                       double factor, Matrix<float> table);
  // The first index of an id outside [low, high), or -1.
  int64_t (*first_outside)(const Execution& on, int64_t count, const int32_t* ids, int64_t low, int64_t high);
  // The same without waiting for it: the first one is noted, and told of when the host next reads anything from the
  // device. Null where nothing has to be waited for.
  void (*note_outside)(const Execution& on, int64_t count, const int32_t* ids, const IndexRange& range);
  // logits (rows, n), targets and losses (rows)
  void (*cross_entropy_forward)(const Execution& on, int64_t rows, int64_t n, Matrix<const float> logits,
                                const int32_t* targets, float* losses);
  // outputs, gradient (rows, 1), labels and losses (rows); the gradient may be left out
  void (*squared_error)(const Execution& on, int64_t rows, Matrix<const float> outputs, const float* labels,
                        float scale, float* losses, Matrix<float> gradient);

  // optimizer; all (size)
  void (*adam_update)(const Execution& on, int64_t size, const AdamRule& rule, float* r, float* m, float* v);
  void (*adam8bit_update)(const Execution& on, int64_t size, int64_t block, const AdamRule& rule, float* r,
                          const CodedNumbers& m, const CodedNumbers& v);
  void (*momentum_update)(const Execution& on, int64_t size, float momentum, float gradient_scale, float* r,
                          float* buffer);
  // z ← alpha·x + beta·y; z may be x or y
  void (*combine)(const Execution& on, int64_t size, float alpha, const float* x, float beta, const float* y, float* z);
  void (*scale)(const Execution& on, int64_t size, float factor, const float* x, float* y);
  void (*square)(const Execution& on, int64_t size, const float* x, float* y);

  // adafactor; all without gaps: r (rows, n), row_factors (rows), sums (2·n + 1); of a vector r, v and m (n), sums (1)
  void (*adafactor_sums)(const Execution& on, int64_t rows, int64_t n, const AdafactorRule& rule, const float* r,
                         float* row_factors, float* sums, void* scratch);
  int64_t (*adafactor_sums_workspace)(int64_t rows, int64_t n);
  void (*adafactor_update)(const Execution& on, const AdafactorUpdate& args, void* scratch);
  int64_t (*adafactor_update_workspace)(int64_t n);
  void (*adafactor_vector_sums)(const Execution& on, int64_t n, const AdafactorRule& rule, const float* r, float* v,
                                float* sums);
  // m may be null
  void (*adafactor_vector_update)(const Execution& on, int64_t n, int64_t all, const AdafactorRule& rule, float* r,
                                  const float* v, const float* sums, float* m);

  // orthogonal; all without gaps: gram, x, y and to (n, n), factor (1), of a polynomial it may be null
  void (*normalize_gram)(const Execution& on, int64_t n, float safety, float* gram, float* factor);
  void (*gram_polynomial)(const Execution& on, int64_t n, const OddPolynomial& polynomial, const float* x,
                          const float* y, const float* factor, float* to);

  // channels; all without gaps: x (rows, n), to of its rows or columns; root_ratios (size); growth_limit (1). a,
  // common, of_rows, of_columns and own may be null
  void (*row_squares)(const Execution& on, int64_t rows, int64_t n, const float* x, float* to);
  void (*column_squares)(const Execution& on, int64_t rows, int64_t n, const float* x, float* to);
  void (*root_ratios)(const Execution& on, int64_t size, float factor, const float* a, const float* b, float floor,
                      float* to);
  void (*scale_channels)(const Execution& on, int64_t rows, int64_t n, float factor, const float* common,
                         const float* of_rows, const float* of_columns, float* x);
  void (*growth_limit)(const Execution& on, float factor, const float* own, const float* squares, float limit,
                       float* before, float* to);

  // quantize; all without gaps: x (size), a scale for each block
  void (*encode_moment)(const Execution& on, bool is_signed, int64_t size, int64_t block, const float* x,
                        const CodedNumbers& to);
  void (*decode_moment)(const Execution& on, bool is_signed, int64_t size, int64_t block, const CodedNumbers& from,
                        float* x);
  void (*encode_basis)(const Execution& on, int bits, int64_t size, int64_t block, const float* x,
                       const CodedNumbers& to);
  void (*decode_basis)(const Execution& on, int bits, int64_t size, int64_t block, const CodedNumbers& from, float* x);

  // companded codes; all without gaps: x, r (size), a scale for each group. is_first: of a first moment
  void (*companded_adam_update)(const Execution& on, int64_t size, const AdamRule& rule, float* r,
                                const CompandedNumbers& m, const CompandedNumbers& v);
  void (*encode_companded)(const Execution& on, bool is_first, int64_t size, const float* x,
                           const CompandedNumbers& to);
  void (*decode_companded)(const Execution& on, bool is_first, int64_t size, const CompandedNumbers& from, float* x);

  // reductions of x (rows, n)
  double (*sum)(const Execution& on, int64_t rows, int64_t n, Matrix<const float> x, void* scratch);
  int64_t (*sum_workspace)(int64_t rows, int64_t n);
  uint64_t (*hash_bytes)(const Execution& on, const void* data, int64_t bytes, void* scratch);
  int64_t (*hash_bytes_workspace)(int64_t bytes);
  void (*fill_normal)(const Execution& on, int64_t size, const NormalNumbers& numbers, float* x);

  // linalg: g (rows, columns), destroyed; basis (columns, rank); y (rows, rank). False: the solver did not converge.
  // Inputs are finite: the wrapper looks.
  bool (*right_singular_vectors)(const Execution& on, int64_t rows, int64_t columns, int64_t rank, Matrix<float> g,
                                 Matrix<float> basis, void* scratch);
  int64_t (*right_singular_vectors_workspace)(int64_t rows, int64_t columns, int64_t rank);
  bool (*orthonormalize)(const Execution& on, int64_t rows, int64_t rank, Matrix<float> y, uint64_t seed,
                         void* scratch);
  int64_t (*orthonormalize_workspace)(int64_t rows, int64_t rank);
};

}  // namespace galleon
