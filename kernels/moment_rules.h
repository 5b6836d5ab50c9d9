// The factors of moment rules, as callers and functions of the table share them.
#pragma once

namespace galleon {

struct AdamRule {
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-6F;
  float gradient_scale = 1.0F;  // clipping factor on r
};

struct AdafactorRule {
  float beta2 = 0;              // 1 − t^−0.8
  float epsilon = 1e-30F;       // added to squares
  float gradient_scale = 1.0F;  // clipping factor on r
  float beta1 = 0;              // of the first moment; 0: none
  float learning_rate = 0;      // applied before the first moment
  float clip = 1.0F;            // limit of the update's root mean square
};

// Of singular values: a·x + b·x³ + c·x⁵.
struct OddPolynomial {
  float a = 0;
  float b = 0;
  float c = 0;
};

}  // namespace galleon
