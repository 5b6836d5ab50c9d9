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
void swiglu(const Execution& on, int64_t rows, int64_t n, Matrix<const T> gate, Matrix<const T> up, Matrix<T> out) {
  map(on, rows, n, SwigluFormula{}, rows_of(gate), rows_of(up), rows_of(out));
}

template <typename T>
struct SwigluSlopes {
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
void swiglu_backward(const Execution& on, const SwigluBackward<T>& a) {
  const SwigluSlopes<T> body{rows_of(a.gate), rows_of(a.up), rows_of(a.dout), rows_of(a.dgate), rows_of(a.dup)};
  const bool wide = body.gate.aligned(a.rows) && body.up.aligned(a.rows) && body.dout.aligned(a.rows) &&
                    body.dgate.aligned(a.rows) && body.dup.aligned(a.rows);
  elementwise<Pack<T>::kCount>(on, a.rows, a.n, wide, body);
}

template <typename T>
void gelu(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x, Matrix<T> y) {
  if (tanh_form) {
    map(on, rows, n, GeluTanhFormula{}, rows_of(x), rows_of(y));
  } else {
    map(on, rows, n, GeluFormula{}, rows_of(x), rows_of(y));
  }
}

template <typename T>
void gelu_backward(const Execution& on, int64_t rows, int64_t n, bool tanh_form, Matrix<const T> x, Matrix<const T> dy,
                   Matrix<T> dx) {
  if (tanh_form) {
    map(on, rows, n, GeluTanhBackwardFormula{}, rows_of(x), rows_of(dy), rows_of(dx));
  } else {
    map(on, rows, n, GeluBackwardFormula{}, rows_of(x), rows_of(dy), rows_of(dx));
  }
}

template <typename T>
void hyperbolic_tangent(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  map(on, rows, n, TangentFormula{}, rows_of(x), rows_of(y));
}

template <typename T>
void hyperbolic_tangent_backward(const Execution& on, int64_t rows, int64_t n, Matrix<const T> y, Matrix<const T> dy,
                                 Matrix<T> dx) {
  map(on, rows, n, TangentBackwardFormula{}, rows_of(y), rows_of(dy), rows_of(dx));
}

template <typename T>
void add(const Execution& on, int64_t rows, int64_t n, Matrix<const T> x, Matrix<T> y) {
  map(on, rows, n, SumFormula{}, rows_of(x), rows_of<const T>(y), rows_of(y));
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
void fill(const Execution& on, int64_t rows, int64_t n, Matrix<T> x, float value) {
  Fill<T> body{rows_of(x), T{}};
  math::store(body.number, value);
  elementwise<Pack<T>::kCount>(on, rows, n, body.to.aligned(rows), body);
}

template <typename From, typename To>
void convert(const Execution& on, int64_t rows, int64_t n, Matrix<const From> x, Matrix<To> y) {
  map(on, rows, n, SameFormula{}, rows_of(x), rows_of(y));
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
void copy_words(const Execution& on, int64_t rows, int64_t row_bytes, Matrix<const char> x, Matrix<char> y) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(Word));
  const Copy<Word> body{{{reinterpret_cast<const Word*>(x.data), x.stride / kSize}},
                        {{reinterpret_cast<Word*>(y.data), y.stride / kSize}}};
  elementwise<Pack<Word>::kCount>(on, rows, row_bytes / kSize, body.from.aligned(rows) && body.to.aligned(rows), body);
}

void copy_bytes(const Execution& on, int64_t rows, int64_t row_bytes, Matrix<const char> x, Matrix<char> y) {
  const auto multiple_of = [&](int64_t size) {
    const auto addresses =
        static_cast<int64_t>((reinterpret_cast<uintptr_t>(x.data) | reinterpret_cast<uintptr_t>(y.data)) % 16);
    return addresses % size == 0 && row_bytes % size == 0 &&
           (rows <= 1 || (x.stride % size == 0 && y.stride % size == 0));
  };
  if (multiple_of(4)) {
    copy_words<uint32_t>(on, rows, row_bytes, x, y);
  } else if (multiple_of(2)) {
    copy_words<uint16_t>(on, rows, row_bytes, x, y);
  } else {
    copy_words<unsigned char>(on, rows, row_bytes, x, y);
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
