// SwiGLU (Shazeer 2020): silu(gate)·up, silu(x) = x·sigmoid(x).
#pragma once

#include "kernels/math/exponential.h"

namespace galleon::math {

GALLEON_FORMULA float sigmoid(float x) {
  return 1.0F / (1.0F + exponential(-x));
}

GALLEON_FORMULA float swiglu(float gate, float up) {
  return gate * sigmoid(gate) * up;
}

// d silu(x)/dx = sigmoid(x)·(1 + x·(1 − sigmoid(x))).
GALLEON_FORMULA void swiglu_backward(float gate, float up, float dout, float& dgate, float& dup) {
  const float s = sigmoid(gate);
  dgate = dout * up * s * (1.0F + gate * (1.0F - s));
  dup = dout * gate * s;
}

}  // namespace galleon::math
