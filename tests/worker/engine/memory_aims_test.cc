// The example that trains 7B parameters on one card of 24 GB holds to its memory.
#include <gtest/gtest.h>

#include "proto/jobfile/jobfile.h"
#include "worker/engine/run/options_from_job.h"
#include "worker/engine/run/training.h"

namespace galleon {
namespace {

// By the ledger of the plan, whose figures are the run's (training_test.cc).
int64_t planned_peak(BasisType basis_type, int64_t kept_inputs) {
  const absl::StatusOr<v1::Job> job =
      load_job_file(std::string(GALLEON_SOURCE_DIR) + "/deploy/examples/llama-7b-24gb.yaml");
  GALLEON_CHECK(job.ok()) << job.status().ToString();
  RunOptions options = options_from_job(*job, "");
  options.optimizer.galore->basis_type = basis_type;
  options.kept_inputs = kept_inputs;
  const absl::StatusOr<ModelConfig> config = model_preset("llama-7b");
  GALLEON_CHECK(config.ok()) << config.status().ToString();
  const absl::StatusOr<EngineShape> shape = engine_shape(options, *config, 1);
  GALLEON_CHECK(shape.ok()) << shape.status().ToString();
  const absl::StatusOr<RankEstimate> plan = dry_run(*shape, "cuda", 0, 1);
  GALLEON_CHECK(plan.ok()) << plan.status().ToString();
  for (int i = 0; i < kMemoryCategories; ++i) {
    std::string name(category_name(static_cast<MemoryCategory>(i)));
    testing::Test::RecordProperty(name, std::to_string(plan->by_category[i]));
  }
  return plan->peak_bytes;
}

TEST(MemoryAims, SevenBillionParametersPlanToTheirAims) {
  EXPECT_LE(planned_peak(BasisType::kBf16, 20), int64_t{20'500'000'000});
  EXPECT_LE(planned_peak(BasisType::kInt8, 18), int64_t{19'500'000'000});
  // What the key costs in work: with every input kept.
  EXPECT_LE(planned_peak(BasisType::kBf16, 0), int64_t{20'900'000'000});
  EXPECT_LE(planned_peak(BasisType::kInt8, 0), int64_t{20'000'000'000});
}

}  // namespace
}  // namespace galleon
