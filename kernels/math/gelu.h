// GELU (Hendrycks & Gimpel 2016): x·Φ(x), with Φ the normal distribution's, or its approximation by a hyperbolic
// tangent. And the hyperbolic tangent itself.
#pragma once

#include "kernels/math/swiglu.h"

namespace galleon::math {

// Φ(−|x|) / e^(−x²/2) within 5e-7 of itself: a polynomial in 1/(1 + 0.26·|x|), fitted to the least relative error on
// [0, 14].
GALLEON_FORMULA float normal_tail(float x) {
  const float t = 1.0F / (1.0F + 0.26F * __builtin_fabsf(x));
  float p = 3.0506580641e-2F;
  p = p * t - 1.5283671515e-1F;
  p = p * t + 2.5150688385e-1F;
  p = p * t - 1.5096579446e-1F;
  p = p * t + 1.6095869802e-1F;
  p = p * t + 5.1023430482e-2F;
  p = p * t + 1.0303124181e-1F;
  p = p * t + 1.0301662611e-1F;
  p = p * t + 1.0375906634e-1F;
  return p * t;
}

// Φ(x) and the density φ(x), from one exponential.
GALLEON_FORMULA void normal(float x, float& distribution, float& density) {
  const float e = exponential_of_negative(-0.5F * x * x);
  const float tail = e * normal_tail(x);
  distribution = x < 0.0F ? tail : 1.0F - tail;
  density = 0.39894228F * e;
}

GALLEON_FORMULA float gelu(float x) {
  float distribution;
  float density;
  normal(x, distribution, density);
  return x * distribution;
}

// d gelu(x)/dx = Φ(x) + x·φ(x).
GALLEON_FORMULA float gelu_slope(float x) {
  float distribution;
  float density;
  normal(x, distribution, density);
  return distribution + x * density;
}

// ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) = x·sigmoid(2·√(2/π)·(x + 0.044715·x³)).
GALLEON_FORMULA float gelu_tanh(float x) {
  return x * sigmoid(1.59576912F * (x + 0.044715F * x * x * x));
}

GALLEON_FORMULA float gelu_tanh_slope(float x) {
  const float s = sigmoid(1.59576912F * (x + 0.044715F * x * x * x));
  // Where s is 0 or 1 the slope of its argument does not matter, and may be infinite.
  const float bounded = x > 20.0F ? 20.0F : (x < -20.0F ? -20.0F : x);
  return s + bounded * s * (1.0F - s) * 1.59576912F * (1.0F + 0.134145F * bounded * bounded);
}

// Within a few roundings: near 0 by its series, elsewhere by (1 − e^(−2|x|)) / (1 + e^(−2|x|)).
GALLEON_FORMULA float hyperbolic_tangent(float x) {
  const float z = x * x;
  const float near = x + x * z * (-3.33333333e-1F + z * (1.33333333e-1F + z * (-5.39682540e-2F + z * 2.18694885e-2F)));
  const float e = exponential_of_negative(-2.0F * __builtin_fabsf(x));
  const float size = (1.0F - e) / (1.0F + e);
  return z < 0.0625F ? near : (x < 0.0F ? -size : size);
}

}  // namespace galleon::math
