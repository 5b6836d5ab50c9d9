#include "kernels/ops/bias.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using BiasTest = KernelTest;
constexpr int64_t kShapes[][2] = {{1, 1}, {3, 5}, {63, 65}, {200, 129}, {65, 700}, {1500, 33}};

TEST_P(BiasTest, ABiasIsAddedToEveryRowAndItsGradientIsTheSumOfRows) {
  for (const auto& [rows, n] : kShapes) {
    const Values y = normal_values(rows * n, 1);
    const Values bias = normal_values(n, 2);
    const Values before = normal_values(n, 3);
    const Tensor t = tensor(y, rows, n, true);
    add_bias(*device_, tensor(bias, n, 1), t);
    Values sum(y.size());
    Values total = before;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < n; ++i) {
        sum[r * n + i] = y[r * n + i] + bias[i];
        total[i] += y[r * n + i];
      }
    }
    EXPECT_LE(relative_error(values_of(t), sum), 2 * kRounding);
    const Tensor gradient = tensor(before, n, 1);
    bias_backward(*device_, tensor(y, rows, n, true), gradient);
    EXPECT_LE(relative_error(values_of(gradient), total), sum_bound(rows)) << rows << "x" << n;
  }
}

GALLEON_ON_EVERY_BACKEND(BiasTest);

}  // namespace
}  // namespace galleon
