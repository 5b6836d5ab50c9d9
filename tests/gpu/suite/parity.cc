// The same training on the CPU and on the GPU: losses of the same steps, from the same seeds.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/parts.h"
#include "tests/gpu/suite/trainee.h"

namespace galleon::gpu {

namespace {

constexpr int64_t kSteps = 6;

struct Case {
  const char* name;
  EngineShape shape;
  double tolerance;  // of a loss, relative
};

EngineShape small(DataType type) {
  EngineShape shape;
  shape.config = *model_preset("tiny");
  shape.config.vocabulary = 384;
  shape.config.key_value_heads = 2;
  shape.sequence_length = 96;
  shape.micro_batch = 4;
  shape.micro_batches = 1;
  shape.weights.type = type;
  shape.optimizer.learning_rate = 1e-3;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  return shape;
}

// fp32: sums in another order move losses by 2e-6 within 20 steps (measured between thread counts on the CPU). The
// first bases come from eight iterations or an exact decomposition of the same gradient; Adam's step is not continuous
// where a gradient is near nothing, which ten times the bound allows for. bf16: a weight rounds to the other neighbour
// where sums differ; a loss is a mean over 384 targets of which each moves by at most a rounding, 2^-9.
constexpr double kFp32 = 2e-5;
constexpr double kBf16 = 4e-3;

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const bool low : {false, true}) {
    const DataType type = low ? DataType::kBFloat16 : DataType::kFloat32;
    const double tolerance = low ? kBf16 : kFp32;
    EngineShape shape = small(type);
    all.push_back({low ? "adamw_bf16" : "adamw_fp32", shape, tolerance});
    shape.optimizer.rule = MomentRule::kAdam8bit;
    all.push_back({low ? "adam8bit_bf16" : "adam8bit_fp32", shape, tolerance});
    shape = small(type);
    shape.optimizer.galore = GaloreOptions{};
    shape.optimizer.galore->rank = 16;
    shape.recompute = true;
    shape.optimizer.per_layer = true;
    all.push_back({low ? "galore_subspace_per_layer_recompute_bf16" : "galore_subspace_per_layer_recompute_fp32", shape,
                   tolerance});
    shape.optimizer.per_layer = false;
    shape.micro_batches = 2;
    all.push_back({low ? "galore_accumulated_bf16" : "galore_accumulated_fp32", shape, tolerance});
  }
  EngineShape shape = small(DataType::kFloat32);
  shape.optimizer.rule = MomentRule::kAdafactor;
  all.push_back({"adafactor_fp32", shape, kFp32});
  shape.optimizer.rule = MomentRule::kSgd;
  all.push_back({"sgd_fp32", shape, kFp32});
  shape.optimizer.momentum = 0.95;
  shape.optimizer.rule = MomentRule::kMuon;
  all.push_back({"muon_fp32", shape, kFp32});
  shape.optimizer.momentum = 0;
  for (const auto& [rule, name] : {std::pair{MomentRule::kScale, "scale_fp32"},
                                   {MomentRule::kApollo, "apollo_fp32"},
                                   {MomentRule::kFira, "fira_fp32"}}) {
    EngineShape one = shape;
    one.optimizer.rule = rule;
    if (rule != MomentRule::kScale) one.optimizer.projection.rank = 16;
    all.push_back({name, one, kFp32});
  }
  shape.optimizer.rule = MomentRule::kMuon;
  shape.optimizer.momentum = 0.95;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = 16;
  all.push_back({"galore_muon_fp32", shape, kFp32});
  shape.optimizer.momentum = 0;
  shape.optimizer.rule = MomentRule::kAdamW;
  shape.optimizer.galore = GaloreOptions{};
  shape.optimizer.galore->rank = 16;
  // Signs of singular vectors are anyone's, and Adam does not mind them before the second basis.
  shape.optimizer.galore->refresh = RefreshMethod::kExact;
  shape.optimizer.galore->stagger = false;
  all.push_back({"galore_exact_fp32", shape, kFp32});
  shape.optimizer.galore->side = ProjectionSide::kFull;
  all.push_back({"galore_two_sides_fp32", shape, kFp32 * 5});
  shape.optimizer.galore->side = ProjectionSide::kStd;
  shape.optimizer.galore->refresh = RefreshMethod::kSubspace;
  shape.optimizer.galore->basis_type = BasisType::kInt8;
  // A number of a basis may round to the other code.
  all.push_back({"galore_int8_basis_fp32", shape, 1e-3});
  return all;
}

}  // namespace

int parity(Report& report) {
  for (const Case& one : cases()) {
    absl::StatusOr<std::unique_ptr<Device>> gpu = make_cuda_device(0);
    GALLEON_CHECK(gpu.ok()) << gpu.status().ToString();
    absl::StatusOr<std::unique_ptr<Trainee>> here = Trainee::create(one.shape, make_cpu_device(0));
    absl::StatusOr<std::unique_ptr<Trainee>> there = Trainee::create(one.shape, *std::move(gpu));
    GALLEON_CHECK(here.ok() && there.ok()) << here.status().ToString() << there.status().ToString();
    double worst = 0;
    for (int64_t step = 1; step <= kSteps; ++step) {
      const double expected = (*here)->step(step);
      const double actual = (*there)->step(step);
      worst = std::max(worst, std::isfinite(actual) ? std::abs(actual - expected) / expected : HUGE_VAL);
    }
    char bound[64];
    std::snprintf(bound, sizeof(bound), "<= %g", one.tolerance);
    report.fact(std::string("parity.") + one.name, worst <= one.tolerance, worst, "of the loss", bound);
    const Ledger& ledger = (*there)->device().ledger();
    const absl::StatusOr<RankEstimate> plan = dry_run(one.shape, "cuda", 0, 1);
    report.fact(std::string("plan.") + one.name, plan.ok() && plan->peak_bytes == ledger.peak(),
                static_cast<double>(ledger.peak()), "bytes", plan.ok() ? std::to_string(plan->peak_bytes) : "a plan");
  }
  return report.exit_code();
}

}  // namespace galleon::gpu
