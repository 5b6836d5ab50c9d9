#include "kernels/ops/linalg.h"

#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using LinalgTest = KernelTest;

// The largest difference of aᵀa from the identity; a is rows×rank.
double orthogonality_error(const Values& a, int64_t rows, int64_t rank) {
  double worst = 0;
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      double value = i == j ? -1 : 0;
      for (int64_t r = 0; r < rows; ++r) value += a[r * rank + i] * a[r * rank + j];
      worst = std::max(worst, std::abs(value));
    }
  }
  return worst;
}

// Modified Gram–Schmidt in double, twice: the unique orthonormal basis with a positive diagonal of R.
Values gram_schmidt(Values y, int64_t rows, int64_t rank) {
  for (int64_t j = 0; j < rank; ++j) {
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t i = 0; i < j; ++i) {
        double value = 0;
        for (int64_t r = 0; r < rows; ++r) value += y[r * rank + i] * y[r * rank + j];
        for (int64_t r = 0; r < rows; ++r) y[r * rank + j] -= value * y[r * rank + i];
      }
    }
    double length = 0;
    for (int64_t r = 0; r < rows; ++r) length += y[r * rank + j] * y[r * rank + j];
    for (int64_t r = 0; r < rows; ++r) y[r * rank + j] /= std::sqrt(length);
  }
  return y;
}

// U·diag(values)·Vᵀ with known orthonormal V (columns×k) and random U.
Values with_spectrum(int64_t rows, int64_t columns, const Values& spectrum, const Values& v) {
  const auto k = static_cast<int64_t>(spectrum.size());
  const Values u = gram_schmidt(normal_values(rows * k, 71), rows, k);
  Values g(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t i = 0; i < k; ++i) g[r * columns + c] += u[r * k + i] * spectrum[i] * v[c * k + i];
    }
  }
  return g;
}

TEST_P(LinalgTest, SingularVectorsOfAKnownSpectrumAreFoundUpToSign) {
  const int64_t shapes[][3] = {{1, 1, 1}, {40, 10, 4}, {10, 40, 4}, {33, 33, 33}, {150, 64, 16}, {64, 150, 64}};
  for (const auto& [rows, columns, rank] : shapes) {
    for (const double size : {1.0, 1e-12, 1e12}) {
      const int64_t k = std::min(rows, columns);
      Values spectrum;
      for (int64_t i = 0; i < k; ++i) spectrum.push_back(size * std::pow(0.8, static_cast<double>(i)));
      const Values v = gram_schmidt(normal_values(columns * k, 72), columns, k);
      const Tensor g = tensor(with_spectrum(rows, columns, spectrum, v), rows, columns, true);
      const Tensor basis = empty(columns, rank, true);
      ASSERT_TRUE(right_singular_vectors(*device_, g, basis));
      const Values found = values_of(basis);
      EXPECT_LE(orthogonality_error(found, columns, rank), 64 * kRounding * std::sqrt(static_cast<double>(columns)));
      for (int64_t j = 0; j < rank; ++j) {
        double cosine = 0;
        for (int64_t c = 0; c < columns; ++c) cosine += found[c * rank + j] * v[c * k + j];
        // A vector's angle error is the rounding of the whole matrix over the gap to the next singular value.
        const double angle = 64 * kRounding / (0.2 * std::pow(0.8, static_cast<double>(j)));
        EXPECT_GE(std::abs(cosine), 1 - angle * angle - 1e-5) << rows << "x" << columns << " vector " << j;
      }
    }
  }
}

TEST_P(LinalgTest, OrthonormalizeGivesTheBasisWithAPositiveDiagonal) {
  const int64_t shapes[][2] = {{1, 1}, {5, 5}, {40, 7}, {130, 64}, {513, 128}};
  for (const auto& [rows, rank] : shapes) {
    for (const double size : {1.0, 1e-30, 1e30}) {
      const Values y = normal_values(rows * rank, 1, size);
      const Tensor t = tensor(y, rows, rank, true);
      ASSERT_TRUE(orthonormalize(*device_, t, 1));
      const Values q = values_of(t);
      EXPECT_LE(orthogonality_error(q, rows, rank), 64 * kRounding * std::sqrt(static_cast<double>(rows)));
      Values scaled = y;
      for (double& value : scaled) value = static_cast<double>(static_cast<float>(value)) / size;
      // The condition number of a square normal matrix multiplies the rounding.
      EXPECT_LE(relative_error(q, gram_schmidt(scaled, rows, rank)), rows == rank ? 1e-3 : 1e-4) << rows << "x" << rank;
    }
  }
}

TEST_P(LinalgTest, OrthonormalizeKeepsTheSpanOfAnIllConditionedMatrix) {
  const int64_t rows = 200;
  const int64_t rank = 32;
  Values y = gram_schmidt(normal_values(rows * rank, 5), rows, rank);
  const Values mix = normal_values(rank * rank, 6);
  Values steep(static_cast<size_t>(rows * rank));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < rank; ++j) {
      for (int64_t i = 0; i < rank; ++i) {
        // Condition number 10^4 and its mixing: the square, which Cholesky of the Gram matrix would see, is beyond
        // fp32.
        steep[r * rank + j] +=
            y[r * rank + i] * std::pow(10.0, -4.0 * static_cast<double>(i) / (rank - 1)) * mix[i * rank + j];
      }
    }
  }
  const Tensor t = tensor(steep, rows, rank);
  ASSERT_TRUE(orthonormalize(*device_, t, 1));
  const Values q = values_of(t);
  EXPECT_LE(orthogonality_error(q, rows, rank), 64 * kRounding * std::sqrt(static_cast<double>(rows)));
}

TEST_P(LinalgTest, DependentColumnsAreReplacedAndTheOthersAreNotMoved) {
  const int64_t rows = 60;
  const int64_t rank = 6;
  // Columns 0, 3 and 5 are independent unit-like directions; 1 repeats 0, 2 is zero, 4 is a sum of 0 and 3.
  const Values base = normal_values(rows * 3, 8);
  Values y(static_cast<size_t>(rows * rank));
  for (int64_t r = 0; r < rows; ++r) {
    y[r * rank] = base[r * 3];
    y[r * rank + 1] = base[r * 3];
    y[r * rank + 3] = base[r * 3 + 1];
    y[r * rank + 4] = base[r * 3] + base[r * 3 + 1];
    y[r * rank + 5] = base[r * 3 + 2];
  }
  const Values independent = gram_schmidt(base, rows, 3);
  const Tensor t = tensor(y, rows, rank, true);
  ASSERT_TRUE(orthonormalize(*device_, t, 77));
  const Values q = values_of(t);
  EXPECT_LE(orthogonality_error(q, rows, rank), 1e-6);
  const int64_t kept[] = {0, 3, 5};
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t r = 0; r < rows; ++r) EXPECT_NEAR(q[r * rank + kept[i]], independent[r * 3 + i], 1e-5);
  }
  const Tensor same = tensor(y, rows, rank);
  ASSERT_TRUE(orthonormalize(*device_, same, 77));
  EXPECT_EQ(values_of(same), q) << "the same seed gives the same columns";
  const Tensor other = tensor(y, rows, rank);
  ASSERT_TRUE(orthonormalize(*device_, other, 78));
  EXPECT_NE(values_of(other), q);
}

TEST_P(LinalgTest, UnitVectorsThatRepeatDoNotHideALaterOne) {
  // A QR without care would fill the gap of the repeated e1 with e2 and then call the true e2 dependent.
  const Tensor t = tensor({1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, 4, 3);
  ASSERT_TRUE(orthonormalize(*device_, t, 1));
  const Values q = values_of(t);
  EXPECT_LE(orthogonality_error(q, 4, 3), 1e-6);
  EXPECT_NEAR(q[0], 1, 1e-6);
  EXPECT_NEAR(q[1 * 3 + 2], 1, 1e-6);
}

TEST_P(LinalgTest, AZeroMatrixBecomesABasis) {
  const Tensor square = tensor(Values(25), 5, 5);
  ASSERT_TRUE(orthonormalize(*device_, square, 3));
  EXPECT_LE(orthogonality_error(values_of(square), 5, 5), 1e-6);
}

TEST_P(LinalgTest, NumbersThatAreNotFiniteAreRefusedAndNothingIsWritten) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const Values held = normal_values(8 * 3, 2);
    const Tensor basis = tensor(held, 8, 3);
    const Tensor g = tensor(normal_values(20 * 8, 1), 20, 8);
    set_number(g, 7, 1, bad);
    EXPECT_FALSE(right_singular_vectors(*device_, g, basis));
    EXPECT_EQ(values_of(basis), held);
    const Tensor y = tensor(held, 8, 3);
    set_number(y, 1, 2, bad);
    const std::vector<char> before = bytes_of_tensor(y);
    EXPECT_FALSE(orthonormalize(*device_, y, 1));
    EXPECT_EQ(bytes_of_tensor(y), before);
  }
}

TEST_P(LinalgTest, OverlapIsOneForTheSameSpanAndZeroForOrthogonalOnes) {
  const Values q = gram_schmidt(normal_values(50 * 8, 3), 50, 8);
  Values turned(50 * 4);
  Values first(50 * 4);
  Values rest(50 * 4);
  for (int64_t r = 0; r < 50; ++r) {
    for (int64_t j = 0; j < 4; ++j) {
      first[r * 4 + j] = q[r * 8 + j];
      turned[r * 4 + j] = q[r * 8 + 3 - j] * (j % 2 == 0 ? -1 : 1);
      rest[r * 4 + j] = q[r * 8 + 4 + j];
    }
  }
  EXPECT_NEAR(overlap(*device_, tensor(first, 50, 4), tensor(turned, 50, 4, true)), 1.0, 1e-5);
  EXPECT_NEAR(overlap(*device_, tensor(first, 50, 4), tensor(rest, 50, 4)), 0.0, 1e-10);
}

GALLEON_ON_EVERY_BACKEND(LinalgTest);

}  // namespace
}  // namespace galleon
