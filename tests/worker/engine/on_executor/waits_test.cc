// How often the host would wait for a GPU in a step: a wait leaves the GPU without work until the host has asked for
// more.
#include <gtest/gtest.h>

#include "executor_context.h"
#include "executor_device.h"
#include "tests/gpu/suite/shapes.h"
#include "tests/gpu/suite/trainee.h"

namespace galleon {
namespace {

EngineShape small(int64_t micro_batches) {
  EngineShape shape = gpu::suite_shape("tiny", 16, 2, 8);
  shape.config.vocabulary = 64;
  shape.micro_batches = micro_batches;
  return shape;
}

// Waits of a step without a refresh.
int64_t waits(const EngineShape& shape) {
  absl::StatusOr<std::unique_ptr<gpu::Trainee>> trainee = gpu::Trainee::create(shape, make_executor_device());
  EXPECT_TRUE(trainee.ok()) << trainee.status();
  if (!trainee.ok()) return -1;
  (*trainee)->step(1);
  const cuda::Context& context = *(*trainee)->device().execution().cuda;
  const int64_t before = context.reads;
  (*trainee)->step(2);
  return context.reads - before;
}

TEST(Waits, APlainStepWaitsForTheLossOfEachPassAndOnceForTheGradients) {
  EXPECT_EQ(waits(small(1)), 2);
  EXPECT_EQ(waits(small(3)), 4);
  EngineShape per_layer = small(1);
  per_layer.optimizer.per_layer = true;
  per_layer.optimizer.rule = MomentRule::kAdam8bit;
  per_layer.optimizer.epsilon = 1e-8;
  per_layer.recompute = true;
  EXPECT_EQ(waits(per_layer), 2);
}

}  // namespace
}  // namespace galleon
