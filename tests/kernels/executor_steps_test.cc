// The kernels between the library calls of products and decompositions, in the executor.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "executor_context.h"
#include "executor_device.h"
#include "kernels/cuda/steps.h"
#include "kernels/cuda/workspaces.h"
#include "kernels/math/bfloat16.h"
#include "numerics.h"

namespace galleon::cuda {
namespace {

// Memory of the host serves kernels too; results that are read back lie in a context's slot.
class CudaSteps : public testing::Test {
 protected:
  CudaSteps() {
    context_.result = context_.memory.allocate(64);
    on_.cuda = &context_;
  }
  ~CudaSteps() override { context_.memory.free(context_.result); }

  DiagonalRange diagonal_range(int64_t n, const double* square) {
    FactorVerdict* noted = verdict_slot(on_);
    note_diagonal(on_, n, square, &noted->factor);
    return read_verdict(on_, noted).factor;
  }
  float distance_from_identity(int64_t n, const double* square) {
    FactorVerdict* noted = verdict_slot(on_);
    note_distance_from_identity(on_, n, square, &noted->distance);
    return read_verdict(on_, noted).distance;
  }

  Context context_;
  Execution on_;
};

TEST_F(CudaSteps, AProductWithoutDepthScalesItsResultAndZeroForgetsIt) {
  std::vector<float> x = {1, 2, NAN, 4, 5, NAN};
  scale_matrix(on_, 2, 2, 3.0F, Matrix<float>{x.data(), 3});
  EXPECT_EQ(x[0], 3);
  EXPECT_EQ(x[4], 15);
  EXPECT_TRUE(std::isnan(x[2]) && std::isnan(x[5])) << "gaps stay";
  scale_matrix(on_, 2, 3, 0.0F, Matrix<float>{x.data(), 3});
  for (const float number : x) EXPECT_EQ(number, 0);
  std::vector<BFloat16> low = {math::to_bfloat16(1.5F), math::to_bfloat16(-2.0F)};
  scale_matrix(on_, 1, 2, 2.0F, Matrix<BFloat16>{low.data(), 2});
  EXPECT_EQ(math::to_float(low[0]), 3.0F);
  EXPECT_EQ(math::to_float(low[1]), -4.0F);
}

TEST_F(CudaSteps, WideningAndNarrowingKeepPlacesAndRoundOnce) {
  const std::vector<float> x = {1, 2, -9, 3, 4, -9};
  std::vector<double> wide(4);
  widen(on_, 2, 2, {x.data(), 3}, wide.data());
  EXPECT_EQ(wide, (std::vector<double>{1, 2, 3, 4}));
  wide = {1.0 / 3, 2, 3, 4};
  std::vector<float> back(6, -1);
  narrow(on_, 2, 2, wide.data(), {back.data(), 3});
  EXPECT_EQ(back, (std::vector<float>{static_cast<float>(1.0 / 3), 2, -1, 3, 4, -1}));
}

TEST_F(CudaSteps, TheDiagonalsRangeAndTheDistanceFromIdentitySeeWhatTheyShould) {
  for (const int64_t n : {1, 5, 300}) {
    std::vector<double> square(static_cast<size_t>(n * n), 0.0);
    for (int64_t i = 0; i < n; ++i) square[i * n + i] = 1.0;
    EXPECT_EQ(distance_from_identity(n, square.data()), 0.0F);
    square[(n - 1) * n + n - 1] = 4.0;
    square[0] = n > 1 ? 0.25 : 4.0;
    const DiagonalRange range = diagonal_range(n, square.data());
    EXPECT_EQ(range.smallest, n > 1 ? 0.25 : 4.0);
    EXPECT_EQ(range.largest, 4.0);
    EXPECT_EQ(distance_from_identity(n, square.data()), 3.0F);
    if (n == 1) continue;
    square[0] = square[n * n - 1] = 1.0;
    square[1] = 7.0;  // column-major: below the diagonal, where cuBLAS leaves what it finds
    EXPECT_EQ(distance_from_identity(n, square.data()), 0.0F);
    square[n] = -0.5;
    EXPECT_EQ(distance_from_identity(n, square.data()), 0.5F);
  }
}

TEST_F(CudaSteps, VectorsOfTheLargestEigenvaluesComeFirst) {
  const int64_t n = 37;
  const int64_t rank = 20;
  std::vector<double> vectors(static_cast<size_t>(n * n));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) vectors[j * n + i] = static_cast<double>(100 * j + i);
  }
  std::vector<float> basis(static_cast<size_t>(n * (rank + 2)), -1.0F);
  take_last_vectors(on_, n, rank, vectors.data(), {basis.data(), rank + 2});
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < rank; ++j) EXPECT_EQ(basis[i * (rank + 2) + j], static_cast<float>(100 * (n - 1 - j) + i));
    EXPECT_EQ(basis[i * (rank + 2) + rank], -1.0F);
  }
}

TEST_F(CudaSteps, VectorsAreScaledByTheirSingularValueOrLeftEmptyWhereThereIsNone) {
  // Two rows of products with three vectors whose eigenvalues ascend.
  const std::vector<double> products = {5, 6, 8, 50, 60, 80};
  const std::vector<double> values = {1e-20, 9, 16};
  std::vector<float> basis(6);
  take_scaled_vectors(on_, 2, 3, products.data(), values.data(), 1e-12, {basis.data(), 3});
  EXPECT_EQ(basis, (std::vector<float>{2, 2, 0, 20, 20, 0}));
}

TEST(CudaWorkspaces, DependOnShapesAloneAndHoldWhatTheStepsLayOut) {
  EXPECT_EQ(product_bytes(1, 1), 4 * kMebibyte);
  EXPECT_EQ(product_bytes(11008, 4096), 32 * kMebibyte);
  const SingularVectorsSpace tall(11008, 4096, 1024);
  EXPECT_EQ(tall.order, 4096);
  EXPECT_EQ(tall.panel, kPanel * 4096 * 8);
  EXPECT_EQ(tall.vectors, 0);
  const SingularVectorsSpace wide(4096, 11008, 1024);
  EXPECT_EQ(wide.panel, kPanel * 4096 * 8);
  EXPECT_EQ(wide.vectors, kPanel * 1024 * 8);
  EXPECT_GE(wide.total(), orthonormalize_workspace(11008, 1024));
  alignas(64) char memory[1024];
  for (int offset = 0; offset < 256; offset += 64) {
    const auto address = reinterpret_cast<uintptr_t>(aligned_scratch(memory + offset));
    EXPECT_EQ(address % kWorkspaceAlignment, 0U);
    EXPECT_LT(address, reinterpret_cast<uintptr_t>(memory + offset) + kWorkspaceAlignment);
  }
}

TEST(CudaPlanning, CountsTheScratchMemoryThatTheKernelsTake) {
  const std::unique_ptr<Device> planning = make_planning_device("cuda");
  const std::unique_ptr<Device> executor = make_executor_device();
  const OperationTable& planned = planning->operations();
  const OperationTable& taken = executor->operations();
  for (const int64_t rows : {1, 7, 300, 5000}) {
    for (const int64_t n : {1, 64, 257, 4096, 11008}) {
      EXPECT_EQ(planned.f32.rms_norm_backward_workspace(rows, n), taken.f32.rms_norm_backward_workspace(rows, n));
      EXPECT_EQ(planned.bf16.layer_norm_backward_workspace(rows, n), taken.bf16.layer_norm_backward_workspace(rows, n));
      EXPECT_EQ(planned.sum_workspace(rows, n), taken.sum_workspace(rows, n));
      EXPECT_EQ(planned.adafactor_sums_workspace(rows, n), taken.adafactor_sums_workspace(rows, n));
      EXPECT_EQ(planned.adafactor_update_workspace(n), taken.adafactor_update_workspace(n));
      EXPECT_EQ(planned.hash_bytes_workspace(rows * n), taken.hash_bytes_workspace(rows * n));
      EXPECT_EQ(planned.bf16.attention_backward_workspace(rows, n, 4, 2, 64),
                taken.bf16.attention_backward_workspace(rows, n, 4, 2, 64));
    }
    EXPECT_EQ(planned.f32.embedding_backward_workspace(rows), taken.f32.embedding_backward_workspace(rows));
  }
}

}  // namespace
}  // namespace galleon::cuda
