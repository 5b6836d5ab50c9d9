// Rotary positions (Su et al. 2021) in the half-split layout: the pair (i, i + D/2) is rotated by
// position·theta^(-2i/D).
#pragma once

#include "kernels/math/portable.h"

namespace galleon::math {

GALLEON_FORMULA void rotate(float& first, float& second, float cosine, float sine) {
  const float a = first;
  const float b = second;
  first = a * cosine - b * sine;
  second = b * cosine + a * sine;
}

}  // namespace galleon::math
