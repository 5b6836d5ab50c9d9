// What the operations of the table are given, by name: shapes, addresses and factors. Included by files compiled for
// other instruction sets and by kernels, so that nothing here is a function that two of them could share.
//
// Shapes stand beside operands as (rows, columns): B sequences of T positions with H heads and K key-value heads of D
// numbers each. Every matrix is row-major.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/math/bfloat16.h"
#include "kernels/math/portable.h"
#include "kernels/math/sequence_rows.h"
#include "kernels/moment_rules.h"

namespace galleon {

// Rows in a device's memory, `stride` elements apart. No data: an operand that is left out.
template <typename T>
struct Matrix {
  T* data;
  int64_t stride;

  GALLEON_FORMULA T* row(int64_t index) const { return data + index * stride; }
  // As a T* is a const T*.
  template <typename U>
  requires(std::is_same_v<U, const T> && !std::is_const_v<T>) GALLEON_FORMULA operator Matrix<U>()
      const {  // NOLINT(google-explicit-constructor)
    return {data, stride};
  }
};

// c ← alpha·op(a)·op(b) + beta·c, with op(a) (m, k) and op(b) (k, n).
template <typename T, typename C>
struct Product {
  bool transpose_a;
  bool transpose_b;
  int64_t m;
  int64_t n;
  int64_t k;
  float alpha;
  Matrix<const T> a;  // (m, k), or (k, m) where it is transposed
  Matrix<const T> b;  // (k, n), or (n, k)
  float beta;
  Matrix<C> c;  // (m, n)
};

template <typename T>
struct RmsNorm {
  int64_t rows;
  int64_t n;
  Matrix<T> x;            // (rows, n)
  Matrix<const T> delta;  // (rows, n), or left out
  const T* weight;        // (n)
  float epsilon;
  Matrix<T> y;         // (rows, n)
  float* inverse_rms;  // (rows)
};
template <typename T>
struct RmsNormRecompute {
  int64_t rows;
  int64_t n;
  Matrix<const T> x;         // (rows, n)
  const T* weight;           // (n)
  const float* inverse_rms;  // (rows)
  Matrix<T> y;               // (rows, n)
};
template <typename T>
struct RmsNormBackward {
  int64_t rows;
  int64_t n;
  Matrix<const T> x;         // (rows, n)
  const T* weight;           // (n)
  const float* inverse_rms;  // (rows)
  Matrix<const T> dy;        // (rows, n)
  Matrix<T> dx;              // (rows, n), added to
  float* dweight;            // (n), added to; may be null
};

template <typename T>
struct LayerNorm {
  int64_t rows;
  int64_t n;
  Matrix<T> x;            // (rows, n)
  Matrix<const T> delta;  // (rows, n), or left out
  const T* weight;        // (n)
  const T* bias;          // (n)
  float epsilon;
  Matrix<T> y;        // (rows, n)
  float* statistics;  // (rows, 2): mean and inverse root
};
template <typename T>
struct LayerNormRecompute {
  int64_t rows;
  int64_t n;
  Matrix<const T> x;        // (rows, n)
  const T* weight;          // (n)
  const T* bias;            // (n)
  const float* statistics;  // (rows, 2)
  Matrix<T> y;              // (rows, n)
};
template <typename T>
struct LayerNormBackward {
  int64_t rows;
  int64_t n;
  Matrix<const T> x;        // (rows, n)
  const T* weight;          // (n)
  const float* statistics;  // (rows, 2)
  Matrix<const T> dy;       // (rows, n)
  Matrix<T> dx;             // (rows, n); may be dy
  float* dweight;           // (n), added to; may be null
  float* dbias;             // (n), added to; may be null
};

template <typename T>
struct SwigluBackward {
  int64_t rows;
  int64_t n;
  Matrix<const T> gate;  // (rows, n), as all of these
  Matrix<const T> up;
  Matrix<const T> dout;
  Matrix<T> dgate;
  Matrix<T> dup;
};

// Words of a random stream, from number `first` on, that decide what is dropped: a word below the threshold drops its
// element, and what is kept is multiplied by `scale`.
struct DropoutWords {
  uint64_t seed;
  uint64_t stream;
  int64_t first;
  uint32_t threshold;  // 0: nothing is dropped
  float scale;
};
template <typename T>
struct Dropout {
  int64_t rows;
  int64_t n;
  Matrix<const T> x;  // (rows, n)
  DropoutWords words;
  const int32_t* row_numbers;  // (rows); null where they are 0, 1, 2, …
  Matrix<T> y;                 // (rows, n)
};

template <typename T>
struct Rotary {
  int64_t tokens;
  int64_t sequence;
  int64_t heads;
  int64_t dimension;
  Matrix<T> x;                // (tokens, heads·D)
  Matrix<const float> table;  // (positions, D): cosines, then sines
  bool backward;
};

// The mask of attention as kernels read it: where sequences lie, which keys a query sees, and which of their
// probabilities are dropped.
struct DeviceMask {
  bool causal;
  int64_t window;  // keys that a query sees, its own included; 0: all
  // (B + 1): sequence s is the rows row_starts[s] to row_starts[s + 1]; null: T rows from s·T on.
  const int32_t* row_starts;
  int64_t rows;  // where they must end
  // Probability (sequence s, head h, query i, key j) is number ((s·H + h)·span + i)·span + j of the words.
  DropoutWords dropout;
  int64_t span;
};

struct AttentionExtent {
  int64_t batch;      // B
  int64_t sequence;   // T
  int64_t heads;      // H
  int64_t group;      // query heads to a key-value head, H/K
  int64_t dimension;  // D
  float scale;        // of scores
  DeviceMask mask;

  GALLEON_FORMULA int64_t kv_heads() const { return heads / group; }
  GALLEON_FORMULA math::SequenceRows rows_of(int64_t index) const {
    return math::rows_of_sequence(mask.row_starts, mask.rows, sequence, index);
  }
};

// Head h of q begins at column h·D, its keys and values at column (h / group)·D.
template <typename T>
struct AttentionForward {
  AttentionExtent extent;
  Matrix<const T> q;  // (B·T, H·D)
  Matrix<const T> k;  // (B·T, K·D)
  Matrix<const T> v;  // (B·T, K·D)
  Matrix<T> out;      // (B·T, H·D)
  float* log_sum;     // (B·H, T)
};
template <typename T>
struct AttentionBackward {
  AttentionExtent extent;
  Matrix<const T> q;     // (B·T, H·D)
  Matrix<const T> k;     // (B·T, K·D)
  Matrix<const T> v;     // (B·T, K·D)
  Matrix<const T> out;   // (B·T, H·D)
  Matrix<const T> dout;  // (B·T, H·D)
  Matrix<T> dq;          // (B·T, H·D)
  Matrix<T> dk;          // (B·T, K·D)
  Matrix<T> dv;          // (B·T, K·D)
  const float* log_sum;  // (B·H, T)
  float* row_dots;       // scratch memory, (B·H, T) for Σ dout·out of every row and what a device keeps behind it
};
// Of each sequence's last position, over the keys from `first` on.
template <typename T>
struct AttentionOfLast {
  AttentionExtent extent;
  int64_t first;
  Matrix<const T> q;  // (B, H·D)
  Matrix<const T> k;  // (B·T, K·D)
  Matrix<const T> v;  // (B·T, K·D)
  Matrix<T> out;      // (B, H·D)
  float* scores;      // scratch memory, (B·H, T)
};

template <typename T>
struct CrossEntropy {
  int64_t rows;
  int64_t n;
  Matrix<float> logits;    // (rows, n), destroyed
  const int32_t* targets;  // (rows)
  float scale;
  float z_loss;
  float* losses;       // (rows)
  Matrix<T> gradient;  // (rows, n); may lie over the logits, row over row
};

// weight ← (weight − step·back)·keep, rounded once.
template <typename T>
struct ApplyUpdate {
  int64_t rows;
  int64_t n;
  Matrix<const float> back;  // (rows, n): update·basisᵀ or the update itself
  float step;
  float keep;
  Matrix<T> weight;           // (rows, n)
  Matrix<float> master;       // (rows, n), or left out
  Matrix<uint8_t> remainder;  // (rows, n) of a bf16 weight without a master copy, or left out
  uint64_t noise;             // rounds a bf16 weight without either
  int64_t first_row;
};

// Numbers in blocks: a code for each and a scale for each block.
struct CodedNumbers {
  uint8_t* codes;
  float* scales;
};

// Numbers in groups of companded codes (math/companded8.h).
struct CompandedNumbers {
  uint8_t* codes;
  uint16_t* scales;
};

// Over own rows of a matrix of `all_rows`, without gaps.
struct AdafactorUpdate {
  int64_t rows;
  int64_t n;
  int64_t all_rows;
  AdafactorRule rule;
  float* r;                  // (rows, n)
  const float* row_factors;  // (rows)
  float* column_factors;     // (n)
  const float* sums;         // (2·n + 1)
  float* m;                  // (rows, n); may be null
};

// mean + deviation·(numbers of a random stream from `first` on).
struct NormalNumbers {
  uint64_t seed;
  uint64_t stream;
  int64_t first;
  float mean;
  float deviation;
};

}  // namespace galleon
