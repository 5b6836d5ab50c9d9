// The orthogonal factor of a matrix from its Gram matrix, beside the iteration on the matrix itself in double
// precision.
#include "kernels/ops/orthogonal.h"

#include "kernels/ops/linear.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

class OrthogonalTest : public KernelTest {
 protected:
  // M·q, of a Gram matrix that is added up over so many pieces of rows.
  Values factored(const Values& m, int64_t rows, int64_t n, const std::vector<OddPolynomial>& polynomials, float safety,
                  int64_t pieces) {
    const Tensor whole = tensor(m, rows, n);
    const Tensor gram = empty(n, n);
    for (int64_t p = 0; p < pieces; ++p) {
      const Tensor own = whole.row_range(p * rows / pieces, (p + 1) * rows / pieces - p * rows / pieces);
      matmul(*device_, own, Transpose::kYes, own, Transpose::kNo, gram, 1.0F, p == 0 ? 0.0F : 1.0F);
    }
    const Tensor q = empty(n, n);
    orthogonal_factor(*device_, polynomials, safety, gram, q);
    const Tensor result = empty(rows, n);
    matmul(*device_, whole, Transpose::kNo, q, Transpose::kNo, result);
    return values_of(result);
  }
};

Values product(const Values& a, const Values& b, int64_t m, int64_t k, int64_t n, bool transposed) {
  Values c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t l = 0; l < k; ++l) {
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += (transposed ? a[l * m + i] : a[i * k + l]) * b[l * n + j];
    }
  }
  return c;
}

Values iterated(Values x, int64_t rows, int64_t n, const std::vector<OddPolynomial>& polynomials, double safety) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  for (double& v : x) v /= safety * std::sqrt(squares);
  for (const OddPolynomial& p : polynomials) {
    const Values gram = product(x, x, n, rows, n, true);
    Values factor = product(gram, gram, n, n, n, false);
    for (int64_t i = 0; i < n * n; ++i) {
      factor[i] = static_cast<double>(p.c) * factor[i] + static_cast<double>(p.b) * gram[i] +
                  (i % (n + 1) == 0 ? static_cast<double>(p.a) : 0.0);
    }
    x = product(x, factor, rows, n, n, false);
  }
  return x;
}

const std::vector<OddPolynomial> kFive(5, OddPolynomial{3.4445F, -4.7750F, 2.0315F});

TEST_P(OrthogonalTest, FromTheGramMatrixIsTheIterationOnTheMatrixWhateverItsSpectrum) {
  const int64_t shapes[][2] = {{1, 1}, {9, 5}, {70, 33}, {64, 64}};
  for (const auto& [rows, n] : shapes) {
    for (const double fall : {1.0, 0.7}) {
      Values m = normal_values(rows * n, 3, 1e-4);
      for (int64_t i = 0; i < rows * n; ++i) m[i] = static_cast<float>(m[i] * std::pow(fall, i % n));
      for (const size_t steps : {1U, 2U, 5U}) {
        const std::vector<OddPolynomial> some(kFive.begin(), kFive.begin() + static_cast<int64_t>(steps));
        // The square of what rounds is amplified by the polynomials where singular values are small.
        EXPECT_LE(relative_error(factored(m, rows, n, some, 1.0F, 1), iterated(m, rows, n, some, 1.0)), 2e-4)
            << rows << "x" << n << ", " << steps;
      }
      EXPECT_LE(relative_error(factored(m, rows, n, kFive, 1.01F, std::min<int64_t>(rows, 4)),
                               iterated(m, rows, n, kFive, 1.01)),
                2e-4);
    }
  }
}

TEST_P(OrthogonalTest, SingularValuesComeNearOne) {
  const int64_t rows = 80;
  const int64_t n = 24;
  const Values q = factored(normal_values(rows * n, 5), rows, n, kFive, 1.0F, 3);
  const Values gram = product(q, q, n, rows, n, true);
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) trace += gram[i * (n + 1)];
  EXPECT_NEAR(trace / static_cast<double>(n), 0.8, 0.35) << "singular values from 0.7 to 1.2";
}

TEST_P(OrthogonalTest, OfNothingIsNothingAndOfWhatIsNoNumberIsNone) {
  Values m(12, 0.0);
  for (const double x : factored(m, 4, 3, kFive, 1.0F, 1)) EXPECT_EQ(x, 0.0);
  m[5] = std::nan("");
  bool told = false;
  for (const double x : factored(m, 4, 3, kFive, 1.0F, 1)) told = told || std::isnan(x);
  EXPECT_TRUE(told);
}

GALLEON_ON_EVERY_BACKEND(OrthogonalTest);

}  // namespace
}  // namespace galleon
