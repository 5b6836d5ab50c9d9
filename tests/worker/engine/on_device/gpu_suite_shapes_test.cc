// The plans of the runs that the GPU suite measures, made without a GPU.
#include "tests/gpu/suite/shapes.h"

#include <gtest/gtest.h>

namespace galleon {
namespace {

int64_t peak(const EngineShape& shape) {
  const absl::StatusOr<RankEstimate> plan = dry_run(shape, "cuda", 0, 1);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? plan->peak_bytes : 0;
}

TEST(GpuSuiteShapes, SevenBillionParametersStayBelowTheAimsOfA24GBCard) {
  EXPECT_LE(peak(gpu::recipe_7b(BasisType::kBf16)), 20'500'000'000);
  EXPECT_LE(peak(gpu::recipe_7b(BasisType::kInt8)), 19'500'000'000);
}

TEST(GpuSuiteShapes, EveryRunHasAPlanAndFullRankTakesTheLargestPassThatFits) {
  EXPECT_GT(peak(gpu::suite_shape("llama-1b", 1024, 16, 0)), peak(gpu::suite_shape("llama-1b", 1024, 16, 512)));
  const std::vector<gpu::Method> methods = gpu::methods_1b();
  for (const gpu::Method& method : methods) EXPECT_GT(peak(method.shape), 0) << method.name;
  EXPECT_LT(peak(methods[1].shape), peak(methods[0].shape)) << "one moment instead of two";
  const std::optional<EngineShape> fits = gpu::full_rank_7b(int64_t{134} << 30);
  ASSERT_TRUE(fits.has_value());
  EXPECT_LE(peak(*fits), int64_t{134} << 30);
  EXPECT_FALSE(gpu::full_rank_7b(int64_t{24} << 30).has_value());
}

}  // namespace
}  // namespace galleon
