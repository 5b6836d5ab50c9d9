// Activation functions in double precision.
#pragma once

#include "tests/kernels/cases/case.h"

namespace galleon {

double gelu_exactly(double x, bool tanh_form);
Values swiglu_exactly(const Values& gate, const Values& up);

}  // namespace galleon
