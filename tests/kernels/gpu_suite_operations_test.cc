// The list of what the GPU suite times, at small sizes on every device: a shape that an operation refuses would
// otherwise show on a borrowed GPU only.
#include <set>

#include "tests/gpu/suite/operations.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using GpuSuiteTest = KernelTest;

TEST_P(GpuSuiteTest, EveryTimedOperationRunsAndCountsWhatItMoves) {
  gpu::OperationSizes sizes;
  sizes.sequences = 2;
  sizes.sequence = 16;
  sizes.hidden = 64;
  sizes.mlp = 88;
  sizes.head = 64;
  sizes.vocabulary = 96;
  sizes.logit_rows = 8;
  sizes.rank = 16;
  sizes.state_rows = 4;
  sizes.summed_rows = 2;
  const gpu::Operations operations(*device_, sizes);
  std::set<std::string> names;
  for (const gpu::Operation& one : operations.all()) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name << " twice";
    device_->work() = {};
    one.call();
    EXPECT_GT(one.bound == gpu::Bound::kMemory ? device_->work().bytes : device_->work().flops, 0) << one.name;
  }
  EXPECT_GE(names.size(), 50U);
}

GALLEON_ON_EVERY_BACKEND(GpuSuiteTest);

}  // namespace
}  // namespace galleon
