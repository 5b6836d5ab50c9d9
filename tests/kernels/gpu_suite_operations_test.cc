// What the GPU suite times, at small sizes on every device: a shape that an operation refuses would otherwise show on a
// borrowed GPU only.
#include <set>

#include "tests/kernels/cases/case.h"
#include "tests/kernels/numerics.h"

namespace galleon {
namespace {

using GpuSuiteTest = KernelTest;

ModelSizes small_sizes() {
  ModelSizes sizes;
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
  return sizes;
}

TEST_P(GpuSuiteTest, EveryTimedOperationRunsAndCountsWhatItMoves) {
  std::set<std::string> names;
  for (const auto& of : model_cases(small_sizes())) {
    EXPECT_TRUE(names.insert(of->name()).second) << of->name() << " twice";
    const DrawnOperands operands(*device_, *of, DataType::kBFloat16);
    device_->work() = {};
    of->run(*device_, operands.tensors());
    EXPECT_GT(of->bound() == Bound::kMemory ? device_->work().bytes : device_->work().flops, 0) << of->name();
  }
  EXPECT_GE(names.size(), 50U);
}

TEST(PlannedCases, TakeOnTheCpuWhatThePlannerCounts) {
  for (const auto& of : model_cases(small_sizes())) {
    for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
      const std::unique_ptr<Device> planning = make_planning_device("cpu");
      const std::unique_ptr<Device> cpu = make_cpu_device(2);
      for (Device* device : {planning.get(), cpu.get()}) {
        const DrawnOperands operands(*device, *of, type);
        if (device == cpu.get()) {
          ASSERT_TRUE(device->set_workspace_budget(planning->workspace_peak()).ok());
        }
        of->run(*device, operands.tensors());
      }
      EXPECT_EQ(planning->workspace_peak(), cpu->workspace_peak()) << of->name();
      EXPECT_EQ(planning->work().flops, cpu->work().flops) << of->name();
      EXPECT_EQ(planning->work().bytes, cpu->work().bytes) << of->name();
    }
  }
}

GALLEON_ON_EVERY_BACKEND(GpuSuiteTest);

}  // namespace
}  // namespace galleon
