// Rows in pieces of 16 bytes where addresses, strides and lengths allow, else number by number.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/simt.h"
#include "kernels/operation_arguments.h"

namespace galleon::cuda {

// `count` numbers that one thread moves at once: 1, or as many as 16 bytes hold.
template <typename T, int count>
struct Piece {
  T value[count];
};
template <int count, typename T>
__device__ __forceinline__ Piece<T, count> load_piece(const T* at) {
  Piece<T, count> piece;
  if constexpr (count == 1) {
    piece.value[0] = *at;
  } else {
    static_assert(count % Pack<T>::kCount == 0);
#pragma unroll
    for (int i = 0; i < count; i += Pack<T>::kCount) {
      const Pack<T> pack = load_pack(at + i);
#pragma unroll
      for (int j = 0; j < Pack<T>::kCount; ++j) piece.value[i + j] = pack.value[j];
    }
  }
  return piece;
}
template <typename T, int count>
__device__ __forceinline__ void store_piece(T* at, const Piece<T, count>& piece) {
  if constexpr (count == 1) {
    *at = piece.value[0];
  } else {
    static_assert(count % Pack<T>::kCount == 0);
#pragma unroll
    for (int i = 0; i < count; i += Pack<T>::kCount) {
      Pack<T> pack;
#pragma unroll
      for (int j = 0; j < Pack<T>::kCount; ++j) pack.value[j] = piece.value[i + j];
      store_pack(at + i, pack);
    }
  }
}

// to ← x, rounded to the nearest, ties to even: by the instruction for it on a GPU (math::store takes seven), with the
// same bits for every number, though not for every NaN.
__device__ __forceinline__ void store_rounded(float& to, float x) {
  to = x;
}
__device__ __forceinline__ void store_rounded(BFloat16& to, float x) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
#else
  math::store(to, x);
#endif
}

// Whether every row of an operand begins at a multiple of 16 bytes.
template <typename T>
bool rows_aligned(int64_t rows, const Matrix<T>& x) {
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 &&
         (rows <= 1 || x.stride * static_cast<int64_t>(sizeof(T)) % 16 == 0);
}
template <typename T>
bool vector_aligned(const T* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// Calls `call.template operator()<count>()` with the numbers of 16 bytes where every row of every operand begins at a
// multiple of 16 bytes and n is a multiple of them, else with 1. A stride of 0 stands for a single row.
template <typename T, typename Call>
void by_pieces(int64_t n, std::initializer_list<Matrix<const T>> operands, Call call) {
  constexpr int kCount = Pack<T>::kCount;
  bool wide = n % kCount == 0;
  for (const Matrix<const T>& operand : operands) wide = wide && rows_aligned(2, operand);
  if (wide) {
    call.template operator()<kCount>();
  } else {
    call.template operator()<1>();
  }
}

}  // namespace galleon::cuda
