// Whole steps of large models on random tokens: tokens a second, the part of the best product's rate that the model's
// own FLOPs reach, refreshes, and peaks of memory.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/cuda/devices.h"
#include "tests/gpu/suite/ceilings.h"
#include "tests/gpu/suite/parts.h"
#include "tests/gpu/suite/trainee.h"

namespace galleon::gpu {

namespace {

constexpr int64_t kInterval = 200;

EngineShape shape_of(const char* preset, int64_t sequence, int64_t sequences, int64_t rank) {
  EngineShape shape;
  shape.config = *model_preset(preset);
  shape.config.vocabulary = 32000;
  shape.sequence_length = sequence;
  shape.micro_batch = sequences;
  shape.micro_batches = 1;
  shape.weights.type = DataType::kBFloat16;
  shape.optimizer.learning_rate = 1e-4;
  shape.optimizer.schedule.type = ScheduleType::kConstant;
  shape.optimizer.schedule.steps = 1;
  if (rank > 0) {
    shape.optimizer.galore = GaloreOptions{};
    shape.optimizer.galore->rank = rank;
    shape.optimizer.galore->refresh_interval = kInterval;
    shape.optimizer.galore->basis_type = BasisType::kBf16;
    shape.optimizer.galore->stagger = false;
  }
  return shape;
}

double seconds_of_step(Trainee& trainee, int64_t number) {
  const auto begin = std::chrono::steady_clock::now();
  trainee.step(number);
  const cudaError_t done = cudaDeviceSynchronize();
  GALLEON_CHECK(done == cudaSuccess) << cudaGetErrorString(done);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Times {
  double plain = 0;    // a step without a refresh, the median
  double refresh = 0;  // what a step takes longer that refreshes every matrix
  int64_t peak = 0;
};

// Skips where the card is too small.
bool measure(Report& report, const std::string& name, const EngineShape& shape, int steps, Times& times) {
  absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
  GALLEON_CHECK(device.ok()) << device.status().ToString();
  absl::StatusOr<std::unique_ptr<Trainee>> trainee = Trainee::create(shape, *std::move(device));
  if (absl::IsResourceExhausted(trainee.status())) {
    std::printf("skipped: %s: %s\n", name.c_str(), std::string(trainee.status().message()).c_str());
    return false;
  }
  GALLEON_CHECK(trainee.ok()) << trainee.status().ToString();
  report.figure(name + ".first_step", seconds_of_step(**trainee, 1), "s");
  seconds_of_step(**trainee, 2);
  std::vector<double> plain;
  for (int i = 0; i < steps; ++i) plain.push_back(seconds_of_step(**trainee, 3 + i));
  std::nth_element(plain.begin(), plain.begin() + steps / 2, plain.end());
  times.plain = plain[steps / 2];
  if (shape.optimizer.galore.has_value()) {
    times.refresh = seconds_of_step(**trainee, kInterval + 1) - times.plain;
  }
  times.peak = (*trainee)->device().ledger().peak();
  const double tokens = static_cast<double>((*trainee)->tokens());
  report.figure(name + ".tokens_per_second", tokens / times.plain, "tokens/s");
  report.figure(name + ".peak", static_cast<double>(times.peak) / 1e9, "GB");
  return true;
}

double model_flops(const EngineShape& shape) {
  return shape.config.train_flops_per_token(shape.sequence_length) *
         static_cast<double>(shape.sequence_length * shape.micro_batch);
}

}  // namespace

int training(Report& report) {
  double product_rate = 0;
  {
    absl::StatusOr<std::unique_ptr<Device>> device = make_cuda_device(0);
    GALLEON_CHECK(device.ok()) << device.status().ToString();
    product_rate = bf16_flops_per_second(**device);
  }
  Times full;
  Times galore;
  const EngineShape full_1b = shape_of("llama-1b", 1024, 16, 0);
  if (measure(report, "llama-1b.full_rank", full_1b, 8, full)) {
    report.at_least("llama-1b.full_rank.model_flops", model_flops(full_1b) / full.plain / product_rate,
                    "of the best product", 0.45);
  }
  const EngineShape galore_1b = shape_of("llama-1b", 1024, 16, 512);
  if (measure(report, "llama-1b.galore", galore_1b, 8, galore)) {
    report.at_most("llama-1b.refresh_of_all", galore.refresh, "s", 0.5);
    const double mean = galore.plain + galore.refresh / kInterval;
    if (full.plain > 0) report.at_least("llama-1b.galore_against_full_rank", full.plain / mean, "times", 1.10);
  }

  // The recipe of deploy/examples/llama-7b-24gb.yaml.
  EngineShape recipe = shape_of("llama-7b", 256, 16, 1024);
  recipe.optimizer.rule = MomentRule::kAdam8bit;
  recipe.optimizer.epsilon = 1e-8;
  recipe.optimizer.per_layer = true;
  recipe.recompute = true;
  recipe.kept_inputs = 20;
  Times seven;
  if (measure(report, "llama-7b.recipe", recipe, 4, seven)) {
    report.at_least("llama-7b.recipe.model_flops", model_flops(recipe) / seven.plain / product_rate,
                    "of the best product", 0.55);
    report.at_most("llama-7b.refresh_of_all", seven.refresh, "s", 5.0);
    report.at_most("llama-7b.recipe.peak_bf16_bases", static_cast<double>(seven.peak) / 1e9, "GB", 20.5);
  }
  recipe.optimizer.galore->basis_type = BasisType::kInt8;
  recipe.kept_inputs = 18;
  const absl::StatusOr<RankEstimate> plan = dry_run(recipe, "cuda", 0, 1);
  if (plan.ok())
    report.at_most("llama-7b.recipe.plan_int8_bases", static_cast<double>(plan->peak_bytes) / 1e9, "GB", 19.5);
  return report.exit_code();
}

}  // namespace galleon::gpu
