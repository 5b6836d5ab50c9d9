#include "kernels/ops/activation.h"

#include "tests/kernels/cases/activation.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using ActivationTest = KernelTest;
constexpr int64_t kShapes[][2] = {{1, 1}, {1, 17}, {5, 3}, {63, 65}, {200, 129}, {2, 20000}};

double silu(double x) {
  return x / (1 + std::exp(-x));
}

TEST_P(ActivationTest, SwigluIsFiniteAndRightAtTheEndsOfTheRange) {
  const Values gate = {-1e30, -200, -100, -89, -87.5, -30, -1e-30, 0, 1e-30, 30, 87.5, 89, 100, 1e30};
  const Values up(gate.size(), 1.0);
  const auto n = static_cast<int64_t>(gate.size());
  const Tensor out = empty(1, n);
  swiglu(*device_, tensor(gate, 1, n), tensor(up, 1, n), out);
  const Values actual = values_of(out);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double expected = silu(static_cast<float>(gate[i]));
    EXPECT_NEAR(actual[i], expected, 16 * kRounding * std::abs(expected) + 1e-35) << gate[i];
  }
}

TEST_P(ActivationTest, SwigluBackwardMayOverwriteItsInputs) {
  for (const auto& [rows, n] : kShapes) {
    const Tensor gate = tensor(normal_values(rows * n, 1, 2.0), rows, n, true);
    const Tensor up = tensor(normal_values(rows * n, 2), rows, n);
    const Tensor dout = tensor(normal_values(rows * n, 3), rows, n);
    const Tensor dgate = empty(rows, n, true);
    const Tensor dup = empty(rows, n);
    swiglu_backward(*device_, gate, up, dout, dgate, dup);
    swiglu_backward(*device_, gate, up, dout, gate, up);
    EXPECT_EQ(values_of(gate), values_of(dgate));
    EXPECT_EQ(values_of(up), values_of(dup));
  }
}

TEST_P(ActivationTest, CopyTakesIntegers) {
  const Tensor a = integers({1, -2, 3});
  const Tensor b = integers({0, 0, 0});
  copy(*device_, a, b);
  EXPECT_EQ(values_of(b), Values({1, -2, 3}));
}

TEST_P(ActivationTest, CopyTakesBytes) {
  for (const int64_t n : {1, 5, 16, 63, 4096}) {
    const Tensor a = operands_.zeros(3, n, DataType::kUint8);
    std::vector<char> bytes(static_cast<size_t>(3 * n));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
    device_->upload(a, bytes.data());
    const Tensor b = operands_.zeros(3, n + 1, DataType::kUint8);
    copy(*device_, a, b.column_range(1, n));
    EXPECT_EQ(bytes_of_tensor(b.column_range(1, n)), bytes);
    EXPECT_EQ(values_of(b.column_range(0, 1)), Values(3));
  }
}

TEST_P(ActivationTest, OperandsOfOtherShapesAreNamed) {
  const Tensor a = empty(3, 4);
  const Tensor b = empty(3, 5);
  EXPECT_DEATH(swiglu(*device_, a, b, a), "swiglu: up is 3x5 fp32 with stride 5, expected 3x4 fp32");
}

TEST_P(ActivationTest, GeluInPlaceHasTheSameBits) {
  for (const auto& [rows, n] : kShapes) {
    for (const bool tanh_form : {false, true}) {
      const Tensor x = tensor(normal_values(rows * n, 1, 2.0), rows, n, true);
      const Tensor y = empty(rows, n);
      gelu(*device_, x, tanh_form, y);
      gelu(*device_, x, tanh_form, x);
      EXPECT_EQ(values_of(x), values_of(y));
    }
  }
}

TEST_P(ActivationTest, GeluAndItsSlopeAreRightAtTheEndsOfTheRange) {
  const Values x = {-1e30, -200, -30, -14, -6, -1e-30, 0, 1e-30, 1e-3, 6, 14, 30, 200, 1e30};
  const auto n = static_cast<int64_t>(x.size());
  for (const bool tanh_form : {false, true}) {
    const Tensor y = empty(1, n);
    const Tensor slope = empty(1, n);
    gelu(*device_, tensor(x, 1, n), tanh_form, y);
    gelu_backward(*device_, tensor(x, 1, n), tanh_form, tensor(Values(x.size(), 1.0), 1, n), slope);
    const Values values = values_of(y);
    const Values slopes = values_of(slope);
    for (int64_t i = 0; i < n; ++i) {
      const double at = static_cast<double>(static_cast<float>(x[i]));
      // Far on the left the true value is below 1e-7 of anything it is added to.
      EXPECT_NEAR(values[i], gelu_exactly(at, tanh_form), 1e-6 * std::abs(gelu_exactly(at, tanh_form)) + 1e-8) << at;
      const double far = at > 0 ? 1.0 : 0.0;
      if (std::abs(at) > 12 || std::abs(at) < 1e-10) {
        EXPECT_NEAR(slopes[i], std::abs(at) > 12 ? far : 0.5, 1e-6) << at;
      }
    }
  }
}

TEST_P(ActivationTest, TheHyperbolicTangentMatchesDoublePrecisionEverywhere) {
  Values x = {-1e30, -100, 1e-30, 1e-3, 0.2499, 0.2501, 9, 1e30};
  for (const double v : normal_values(2000, 1, 1.0)) x.push_back(v);
  const auto n = static_cast<int64_t>(x.size());
  const Values dy = normal_values(n, 2);
  const Tensor y = empty(1, n);
  hyperbolic_tangent(*device_, tensor(x, 1, n), y);
  const Values values = values_of(y);
  for (int64_t i = 0; i < n; ++i) {
    const double expected = std::tanh(static_cast<double>(static_cast<float>(x[i])));
    EXPECT_NEAR(values[i], expected, 8 * kRounding * std::abs(expected)) << x[i];
  }
  hyperbolic_tangent_backward(*device_, y, tensor(dy, 1, n), y);
  const Values slopes = values_of(y);
  for (int64_t i = 0; i < n; ++i) {
    const double t = std::tanh(x[i]);
    EXPECT_NEAR(slopes[i], dy[i] * (1 - t * t), 16 * kRounding * std::abs(dy[i])) << x[i];
  }
}

GALLEON_ON_EVERY_BACKEND(ActivationTest);

}  // namespace
}  // namespace galleon
