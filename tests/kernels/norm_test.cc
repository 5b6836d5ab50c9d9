#include "kernels/ops/norm.h"

#include "tests/kernels/cases/norm.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using NormTest = KernelTest;
constexpr float kEpsilon = kNormEpsilon;
constexpr int64_t kShapes[][2] = {{1, 1},     {1, 8},     {3, 5},    {7, 63},  {65, 64},
                                  {200, 129}, {1100, 33}, {6, 1000}, {3, 9001}};

TEST_P(NormTest, ForwardMatchesDoublePrecisionAndTheRecomputedOutputHasTheSameBits) {
  for (const auto& [rows, n] : kShapes) {
    for (const Gaps gaps : kEveryGaps) {
      const Values x = normal_values(rows * n, 1, 3.0);
      const Values w = normal_values(n, 2);
      const Tensor tx = tensor(x, rows, n, gaps);
      const Tensor tw = tensor(w, n, 1);
      const Tensor y = empty(rows, n, gaps);
      const Tensor again = empty(rows, n, gaps);
      const Tensor inverse = empty(rows, 1);
      rms_norm(*device_, tx, tw, kEpsilon, y, inverse);
      Values s;
      const Values expected = rms_norm_exactly(x, w, rows, n, &s);
      EXPECT_LE(relative_error(values_of(y), expected), sum_bound(n)) << rows << "x" << n;
      EXPECT_LE(relative_error(values_of(inverse), s), sum_bound(n)) << rows << "x" << n;
      rms_norm_recompute(*device_, tx, tw, inverse, again);
      EXPECT_EQ(values_of(again), values_of(y));
      rms_norm(*device_, tx, tw, kEpsilon, tx, inverse);
      EXPECT_EQ(values_of(tx), values_of(y)) << "in place";
    }
  }
}

TEST_P(NormTest, AWeightWithoutGradientChangesNoBitOfTheOther) {
  for (const auto& [rows, n] : kShapes) {
    const Tensor x = tensor(normal_values(rows * n, 1), rows, n, true);
    const Tensor weight = tensor(normal_values(n, 2), n, 1);
    const Tensor dy = tensor(normal_values(rows * n, 3), rows, n, true);
    const Values before = normal_values(rows * n, 4);
    const Tensor inverse = empty(rows, 1);
    rms_norm(*device_, x, weight, kEpsilon, empty(rows, n), inverse);
    const Tensor dx = tensor(before, rows, n, true);
    rms_norm_backward(*device_, x, weight, inverse, dy, dx, tensor(normal_values(n, 5), n, 1));
    const Tensor alone = tensor(before, rows, n);
    rms_norm_backward(*device_, x, weight, inverse, dy, alone, Tensor{});
    EXPECT_EQ(values_of(alone), values_of(dx)) << rows << "x" << n;
  }
}

TEST(NormThreads, BackwardHasTheSameBitsOnOneThreadAndOnTwo) {
  std::vector<std::vector<Values>> results;
  for (const int threads : {1, 2}) {
    const std::unique_ptr<Device> device = make_cpu_device(threads);
    DeviceOperands operands(*device);
    const int64_t rows = 1500;
    const int64_t n = 96;
    const Tensor x = operands.tensor(normal_values(rows * n, 0), rows, n);
    const Tensor w = operands.tensor(Values(n, 0.5), n, 1);
    const Tensor inverse = operands.tensor(Values(rows, 0.75), rows, 1);
    const Tensor dx = operands.tensor(Values(rows * n), rows, n);
    const Tensor dw = operands.tensor(Values(n), n, 1);
    rms_norm_backward(*device, x, w, inverse, operands.tensor(normal_values(rows * n, 1), rows, n), dx, dw);
    results.push_back({operands.values_of(dx), operands.values_of(dw)});
  }
  EXPECT_EQ(results[0], results[1]);
}

GALLEON_ON_EVERY_BACKEND(NormTest);

}  // namespace
}  // namespace galleon
