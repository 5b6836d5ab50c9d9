// Activation functions, elementwise additions, conversions and copies.
#include "kernels/cuda/kernels/elementwise.h"
#include "kernels/cuda/kernels/kernels.h"
#include "kernels/math/gelu.h"

namespace galleon::cuda {
namespace {

struct SwigluFormula {
  __device__ float operator()(float gate, float up) const { return math::swiglu(gate, up); }
};
struct GeluFormula {
  __device__ float operator()(float x) const { return math::gelu(x); }
};
struct GeluTanhFormula {
  __device__ float operator()(float x) const { return math::gelu_tanh(x); }
};
struct GeluBackwardFormula {
  __device__ float operator()(float x, float dy) const { return dy * math::gelu_slope(x); }
};
struct GeluTanhBackwardFormula {
  __device__ float operator()(float x, float dy) const { return dy * math::gelu_tanh_slope(x); }
};
struct TangentFormula {
  __device__ float operator()(float x) const { return math::hyperbolic_tangent(x); }
};
struct TangentBackwardFormula {
  __device__ float operator()(float y, float dy) const { return dy * (1.0F - y * y); }
};
struct SumFormula {
  __device__ float operator()(float x, float y) const { return y + x; }
};
struct SameFormula {
  __device__ float operator()(float x) const { return x; }
};

template <typename T>
void swiglu(const Execution& on, int64_t rows, int64_t n, const T* gate, int64_t ldg, const T* up, int64_t ldu, T* out,
            int64_t ldo) {
  map(on, rows, n, SwigluFormula{}, Rows<const T>{gate, ldg}, Rows<const T>{up, ldu}, Rows<T>{out, ldo});
}

template <typename T>
struct SwigluBackward {
  Rows<const T> gate;
  Rows<const T> up;
  Rows<const T> dout;
  Rows<T> dgate;
  Rows<T> dup;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    const auto g = gate.template load<count>(row, column);
    const auto u = up.template load<count>(row, column);
    const auto d = dout.template load<count>(row, column);
    Piece<T, count> dg;
    Piece<T, count> du;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      float a;
      float b;
      math::swiglu_backward(math::load(g.value[i]), math::load(u.value[i]), math::load(d.value[i]), a, b);
      store_rounded(dg.value[i], a);
      store_rounded(du.value[i], b);
    }
    dgate.template store<count>(row, column, dg);
    dup.template store<count>(row, column, du);
  }
};

template <typename T>
void swiglu_backward(const Execution& on, int64_t rows, int64_t n, const T* gate, int64_t ldg, const T* up, int64_t ldu,
                     const T* dout, int64_t lddo, T* dgate, int64_t lddg, T* dup, int64_t lddu) {
  const SwigluBackward<T> body{{gate, ldg}, {up, ldu}, {dout, lddo}, {dgate, lddg}, {dup, lddu}};
  const bool wide = body.gate.aligned(rows) && body.up.aligned(rows) && body.dout.aligned(rows) &&
                    body.dgate.aligned(rows) && body.dup.aligned(rows);
  elementwise<Pack<T>::kCount>(on, rows, n, wide, body);
}

template <typename T>
void gelu(const Execution& on, int64_t rows, int64_t n, bool tanh_form, const T* x, int64_t ldx, T* y, int64_t ldy) {
  const Rows<const T> from{x, ldx};
  const Rows<T> to{y, ldy};
  if (tanh_form) {
    map(on, rows, n, GeluTanhFormula{}, from, to);
  } else {
    map(on, rows, n, GeluFormula{}, from, to);
  }
}

template <typename T>
void gelu_backward(const Execution& on, int64_t rows, int64_t n, bool tanh_form, const T* x, int64_t ldx, const T* dy,
                   int64_t lddy, T* dx, int64_t lddx) {
  const Rows<const T> from{x, ldx};
  const Rows<const T> slope_of{dy, lddy};
  const Rows<T> to{dx, lddx};
  if (tanh_form) {
    map(on, rows, n, GeluTanhBackwardFormula{}, from, slope_of, to);
  } else {
    map(on, rows, n, GeluBackwardFormula{}, from, slope_of, to);
  }
}

template <typename T>
void hyperbolic_tangent(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, T* y, int64_t ldy) {
  map(on, rows, n, TangentFormula{}, Rows<const T>{x, ldx}, Rows<T>{y, ldy});
}

template <typename T>
void hyperbolic_tangent_backward(const Execution& on, int64_t rows, int64_t n, const T* y, int64_t ldy, const T* dy,
                                 int64_t lddy, T* dx, int64_t lddx) {
  map(on, rows, n, TangentBackwardFormula{}, Rows<const T>{y, ldy}, Rows<const T>{dy, lddy}, Rows<T>{dx, lddx});
}

template <typename T>
void add(const Execution& on, int64_t rows, int64_t n, const T* x, int64_t ldx, T* y, int64_t ldy) {
  map(on, rows, n, SumFormula{}, Rows<const T>{x, ldx}, Rows<const T>{y, ldy}, Rows<T>{y, ldy});
}

template <typename T>
struct Fill {
  Rows<T> to;
  T number;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    Piece<T, count> piece;
#pragma unroll
    for (int i = 0; i < count; ++i) piece.value[i] = number;
    to.template store<count>(row, column, piece);
  }
};

template <typename T>
void fill(const Execution& on, int64_t rows, int64_t n, T* x, int64_t ldx, float value) {
  Fill<T> body{{x, ldx}, T{}};
  math::store(body.number, value);
  elementwise<Pack<T>::kCount>(on, rows, n, body.to.aligned(rows), body);
}

template <typename From, typename To>
void convert(const Execution& on, int64_t rows, int64_t n, const From* x, int64_t ldx, To* y, int64_t ldy) {
  map(on, rows, n, SameFormula{}, Rows<const From>{x, ldx}, Rows<To>{y, ldy});
}

// Bytes as they are, `Word` by `Word`.
template <typename Word>
struct Copy {
  Rows<const Word> from;
  Rows<Word> to;

  template <int count>
  __device__ __forceinline__ void at(int64_t row, int64_t column) const {
    to.template store<count>(row, column, from.template load<count>(row, column));
  }
};

template <typename Word>
void copy_words(const Execution& on, int64_t rows, int64_t row_bytes, const char* x, int64_t stride_x, char* y,
                int64_t stride_y) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Word));
  const Copy<Word> body{{reinterpret_cast<const Word*>(x), stride_x / kSize},
                        {reinterpret_cast<Word*>(y), stride_y / kSize}};
  elementwise<Pack<Word>::kCount>(on, rows, row_bytes / kSize, body.from.aligned(rows) && body.to.aligned(rows), body);
}

void copy_bytes(const Execution& on, int64_t rows, int64_t row_bytes, const char* x, int64_t stride_x, char* y,
                int64_t stride_y) {
  const auto multiple_of = [&](int64_t size) {
    const auto addresses = static_cast<int64_t>((reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y)) % 16);
    return addresses % size == 0 && row_bytes % size == 0 &&
           (rows <= 1 || (stride_x % size == 0 && stride_y % size == 0));
  };
  if (multiple_of(4)) {
    copy_words<uint32_t>(on, rows, row_bytes, x, stride_x, y, stride_y);
  } else if (multiple_of(2)) {
    copy_words<uint16_t>(on, rows, row_bytes, x, stride_x, y, stride_y);
  } else {
    copy_words<unsigned char>(on, rows, row_bytes, x, stride_x, y, stride_y);
  }
}

template <typename T>
void fill_typed(FloatOperations<T>& table) {
  table.swiglu = swiglu<T>;
  table.swiglu_backward = swiglu_backward<T>;
  table.gelu = gelu<T>;
  table.gelu_backward = gelu_backward<T>;
  table.hyperbolic_tangent = hyperbolic_tangent<T>;
  table.hyperbolic_tangent_backward = hyperbolic_tangent_backward<T>;
  table.add = add<T>;
  table.fill = fill<T>;
  table.from_fp32 = convert<float, T>;
  table.to_fp32 = convert<T, float>;
}

}  // namespace

void fill_activation(OperationTable& table) {
  fill_typed(table.f32);
  fill_typed(table.bf16);
  table.copy_bytes = copy_bytes;
}

}  // namespace galleon::cuda
